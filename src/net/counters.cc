#include "net/counters.h"

#include "net/connection_handler.h"

namespace dunlin {

std::string_view refusal_name(Refusal refusal) {
  switch (refusal) {
    case Refusal::IpConnections: return "ip_connections";
    case Refusal::IpHandshakes: return "ip_handshakes";
    case Refusal::IpAuthFailures: return "ip_auth_failures";
    case Refusal::ServerFull: return "server_full";
    case Refusal::NoDescriptors: return "no_descriptors";
    case Refusal::HeaderTimeout: return "header_timeout";
    case Refusal::BadRequest: return "bad_request";
    case Refusal::Origin: return "origin";
    case Refusal::Subprotocol: return "subprotocol";
    case Refusal::PeerGone: return "peer_gone";
    case Refusal::HeaderMemory: return "header_memory";
  }
  return "unknown";
}

std::string_view close_cause_name(CloseCause cause) {
  switch (cause) {
    case CloseCause::Local: return "local";
    case CloseCause::PeerClose: return "peer_close";
    case CloseCause::PeerGone: return "peer_gone";
    case CloseCause::BadFrame: return "bad_frame";
    case CloseCause::BadUtf8: return "bad_utf8";
    case CloseCause::TooLarge: return "too_large";
    case CloseCause::MemoryBound: return "memory_bound";
    case CloseCause::IoError: return "io_error";
  }
  return "unknown";
}

}  // namespace dunlin
