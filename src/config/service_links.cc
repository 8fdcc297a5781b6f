#include "config/service_links.h"

#include <algorithm>

namespace dunlin {
namespace {

constexpr std::string_view kOwn = "DUNLIN_";
constexpr std::string_view kProtocols[] = {"TCP", "UDP", "SCTP"};

bool is_link_value(std::string_view value) {
  return value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
}

// "8080_TCP", "8080_TCP_PROTO" and so on.
bool is_port_link(std::string_view text) {
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(digits);
  return digits != 0 && std::any_of(std::begin(kProtocols), std::end(kProtocols), [&](std::string_view protocol) {
           if (!text.starts_with('_') || !text.substr(1).starts_with(protocol)) return false;
           const std::string_view end = text.substr(1 + protocol.size());
           return end.empty() || end == "_PROTO" || end == "_PORT" || end == "_ADDR";
         });
}

// `text` is what follows the service's name and a "_".
bool ends_a_link(std::string_view text, std::string_view value) {
  if (text == "PORT") return is_link_value(value);
  if (text == "SERVICE_HOST" || text == "SERVICE_PORT" || text.starts_with("SERVICE_PORT_")) return true;
  return text.starts_with("PORT_") && is_port_link(text.substr(5));
}

}  // namespace

bool is_service_link(std::string_view variable, std::string_view value) {
  if (variable == "DUNLIN_PORT" || variable.starts_with("DUNLIN_PORT_") || variable.starts_with("DUNLIN_SERVICE_")) return true;
  if (!variable.starts_with(kOwn)) return false;
  for (auto at = variable.find('_', kOwn.size()); at != std::string_view::npos; at = variable.find('_', at + 1)) {
    if (ends_a_link(variable.substr(at + 1), value)) return true;
  }
  return false;
}

}  // namespace dunlin
