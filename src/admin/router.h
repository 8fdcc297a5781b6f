#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace dunlin {

struct AdminRequest {
  std::string method;
  std::string path;   // without the query
  std::string query;  // after '?', may be empty
  std::string body;
};

struct AdminResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
};

// Which handler answers which method and path, by exact match: unknown paths give 404, other methods of a known path 405 (HEAD is
// answered as GET). Filled before the server starts, then read only. Handlers run on the admin thread and must not block: they
// report values that others have prepared.
class Router {
 public:
  using Handler = std::function<AdminResponse(const AdminRequest&)>;

  void add(std::string method, std::string path, Handler handler);
  AdminResponse handle(const AdminRequest& request) const;

 private:
  std::map<std::string, std::map<std::string, Handler>, std::less<>> handlers_;  // path → method → handler
};

}  // namespace dunlin
