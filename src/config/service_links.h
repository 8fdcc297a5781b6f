#pragma once

#include <string_view>

namespace dunlin {

// What Kubernetes (and Docker's links) puts into every container for a service called `dunlin` or `dunlin-ANYTHING`: DUNLIN_ANYTHING_ and
// then SERVICE_HOST, SERVICE_PORT, SERVICE_PORT_NAME, PORT, PORT_8080_TCP and that with _PROTO, _PORT, _ADDR; UDP and SCTP likewise.
// DUNLIN_ANYTHING_PORT may also be the name of a setting: its value tells (tcp://10.0.0.1:8080).
bool is_service_link(std::string_view variable, std::string_view value);

}  // namespace dunlin
