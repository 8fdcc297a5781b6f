#pragma once

#include "messaging/delivery/session_delivery.h"

namespace dunlin {

// Ties a running coroutine and its delivery together without either owning the other: whichever ends first clears the other's pointer.
struct SessionDelivery::Ticket {
  explicit Ticket(SessionDelivery* of) : delivery(of) {
    CHECK(of->ticket_ == nullptr);
    of->ticket_ = this;
  }
  ~Ticket() {
    if (delivery != nullptr) delivery->ticket_ = nullptr;
  }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  SessionDelivery* delivery;  // null: gone
};

}  // namespace dunlin
