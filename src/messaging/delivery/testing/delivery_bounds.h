#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace dunlin {

// How often each bound of delivery was reached in a run. A bound that no run reaches is one that nothing is known of.
struct DeliveryBounds {
  std::uint64_t flights = 0;        // a session had unacked pushes in as many conversations as it may
  std::uint64_t write_queue = 0;    // a push found the queue full
  std::uint64_t inbox_page = 0;     // a page of the inbox that was not all
  std::uint64_t news_messages = 0;  // a page of news without all of its messages
  std::uint64_t range_page = 0;     // a range that was cut
  std::uint64_t ack_positions = 0;  // a device had to ack more conversations than one ack takes
  std::uint64_t own_messages = 0;   // a session could not remember which messages are its own
  std::uint64_t retransmit = 0;     // a push was repeated for want of an ack
  std::uint64_t exceptions = 0;     // a session began with as many unacked conversations as it may have
  std::uint64_t mailbox = 0;        // a full mailbox lost hints
  std::uint64_t head_search = 0;    // heads were compared since part of the inbox is trimmed
  // Of several nodes.
  std::uint64_t moves = 0;          // a device came back on another node
  std::uint64_t deaths = 0;         // a node died with everything in memory
  std::uint64_t bus_lost = 0;       // an entry from node to node was lost
  std::uint64_t bus_repeated = 0;   // came twice
  std::uint64_t bus_swapped = 0;    // came before one that was sent earlier
  std::uint64_t unknown = 0;        // a sender was told that nobody knows
  std::uint64_t without_range = 0;  // records were told that somebody else had noted
  std::uint64_t long_ranges = 0;    // a range was told of which its batch had not stored all
  std::uint64_t bare = 0;           // how far an inbox goes was told, and nothing else
  std::uint64_t early = 0;          // a session kept a hint that came early
  std::uint64_t overdue = 0;        // what came early waited for too long
  std::uint64_t tails_lost = 0;     // inboxes lost what was noted last
  std::uint64_t directory = 0;      // the directory failed, or did not know

  void add(const DeliveryBounds& more) {
    for (const auto& [name, member] : kNames) this->*member += more.*member;
  }
  // "name=count" of each.
  std::string text() const {
    std::string out;
    for (const auto& [name, member] : kNames) out += " " + name + "=" + std::to_string(this->*member);
    return out;
  }
  static const std::vector<std::pair<std::string, std::uint64_t DeliveryBounds::*>> kNames;
};
inline const std::vector<std::pair<std::string, std::uint64_t DeliveryBounds::*>> DeliveryBounds::kNames{
    {"flights", &DeliveryBounds::flights},
    {"write_queue", &DeliveryBounds::write_queue},
    {"inbox_page", &DeliveryBounds::inbox_page},
    {"news_messages", &DeliveryBounds::news_messages},
    {"range_page", &DeliveryBounds::range_page},
    {"ack_positions", &DeliveryBounds::ack_positions},
    {"own_messages", &DeliveryBounds::own_messages},
    {"retransmit", &DeliveryBounds::retransmit},
    {"exceptions", &DeliveryBounds::exceptions},
    {"mailbox", &DeliveryBounds::mailbox},
    {"head_search", &DeliveryBounds::head_search},
    {"moves", &DeliveryBounds::moves},
    {"deaths", &DeliveryBounds::deaths},
    {"bus_lost", &DeliveryBounds::bus_lost},
    {"bus_repeated", &DeliveryBounds::bus_repeated},
    {"bus_swapped", &DeliveryBounds::bus_swapped},
    {"unknown", &DeliveryBounds::unknown},
    {"without_range", &DeliveryBounds::without_range},
    {"long_ranges", &DeliveryBounds::long_ranges},
    {"bare", &DeliveryBounds::bare},
    {"early", &DeliveryBounds::early},
    {"overdue", &DeliveryBounds::overdue},
    {"tails_lost", &DeliveryBounds::tails_lost},
    {"directory", &DeliveryBounds::directory},
};

}  // namespace dunlin
