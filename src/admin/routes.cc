#include "admin/routes.h"

#include <fmt/format.h>

#include <utility>

#include "admin/json_text.h"

namespace dunlin {
namespace {

AdminResponse live(const AdminSources& sources) {
  if (sources.alive()) return {200, "application/json", R"({"alive":true})"};
  return {503, "application/json", R"({"alive":false})"};
}

AdminResponse ready(const AdminSources& sources) {
  HealthSummary summary = sources.health->summary();
  return {summary.ready ? 200U : 503U, "application/json", std::move(summary.json)};
}

AdminResponse info(const AdminSources& sources) {
  const ServerInfo info = sources.info();
  std::string body = fmt::format(R"({{"name":"dunlin","version":{},"epoch":{},"node":{},"pid":{},"uptime_ms":{},)", json_text(info.version),
                                 json_text(info.epoch), json_text(info.node), info.pid, info.uptime_ms);
  body += fmt::format(R"("store":{{"engine":{},"durability":{}}},)", json_text(info.engine), json_text(info.durability));
  body += fmt::format(R"("transports":{{"websocket":{},"tcp":{},"tls":{}}},"connections":{},)", json_text(info.websocket),
                      json_text(info.tcp), info.tls, info.connections);
  body += fmt::format(R"("limits":{{"max_packet_bytes":{},"heartbeat_interval_ms":{},"max_devices":{}}}}})", info.max_packet_bytes,
                      info.heartbeat_interval_ms, info.max_devices);
  return {200, "application/json", std::move(body)};
}

void update_health(const AdminSources& sources) {
  for (const HealthReport& report : sources.health->reports()) {
    const std::int64_t green = report.ok ? 1 : 0;
    if (report.name == "accept") sources.metrics->health(metrics::Check::Accept).set(green);
    if (report.name == "store") sources.metrics->health(metrics::Check::Store).set(green);
    if (report.name == "deliver") sources.metrics->health(metrics::Check::Deliver).set(green);
  }
}

AdminResponse scrape(const AdminSources& sources) {
  update_health(sources);
  if (sources.collect) sources.collect();
  return {200, "text/plain; version=0.0.4; charset=utf-8", sources.metrics->expose()};
}

}  // namespace

Router make_admin_router(AdminSources sources) {
  Router router;
  const auto add = [&](const char* path, AdminResponse (*handler)(const AdminSources&)) {
    router.add("GET", path, [sources, handler](const AdminRequest&) { return handler(sources); });
  };
  add("/livez", live);
  add("/readyz", ready);
  add("/info", info);
  add("/metrics", scrape);
  return router;
}

}  // namespace dunlin
