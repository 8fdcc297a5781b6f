#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <functional>
#include <map>

#include "admin/admin_server.h"
#include "admin/router.h"

// Internal to admin_server.cc and admin_connection.cc: the only header of this layer that names Asio.
namespace dunlin {

// What the connections of one AdminServer share; on the admin thread only.
struct AdminShared {
  AdminOptions options;
  Router router;
  std::map<const void*, std::function<void()>> open;  // connection → how to close it

  std::size_t open_count() const { return open.size(); }
  void close_all() {
    for (const auto& [connection, close] : open) close();
  }
};

// Serves one client until it closes, errs, or is late; keeps itself alive by its pending operation.
void serve_admin_connection(boost::asio::ip::tcp::socket socket, AdminShared& shared);

}  // namespace dunlin
