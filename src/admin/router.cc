#include "admin/router.h"

namespace dunlin {

void Router::add(std::string method, std::string path, Handler handler) {
  handlers_[std::move(path)][std::move(method)] = std::move(handler);
}

AdminResponse Router::handle(const AdminRequest& request) const {
  const auto path = handlers_.find(request.path);
  if (path == handlers_.end()) return {404, "application/json", R"({"error":"not found"})"};
  const auto method = path->second.find(request.method == "HEAD" ? "GET" : request.method);
  if (method == path->second.end()) return {405, "application/json", R"({"error":"method not allowed"})"};
  return method->second(request);
}

}  // namespace dunlin
