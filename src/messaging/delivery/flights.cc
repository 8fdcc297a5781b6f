#include "messaging/delivery/flights.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace dunlin {

std::uint32_t FlightTable::hash(std::string_view conversation) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(conversation));
}

Flight* FlightTable::find(std::string_view conversation) {
  const std::uint32_t wanted = hash(conversation);
  for (std::size_t i = 0; i < hashes_.size(); ++i) {
    if (hashes_[i] == wanted && flights_[i].conversation.view() == conversation) return &flights_[i];
  }
  return nullptr;
}

Flight& FlightTable::create(std::string_view conversation) {
  CHECK(find(conversation) == nullptr);
  hashes_.push_back(hash(conversation));
  flights_.emplace_back().conversation = ConversationId(conversation);
  return flights_.back();
}

void FlightTable::erase(Flight& flight) {
  const auto i = static_cast<std::size_t>(&flight - flights_.data());
  CHECK(i < flights_.size());
  hashes_[i] = hashes_.back();
  hashes_.pop_back();
  if (i + 1 != flights_.size()) flights_[i] = std::move(flights_.back());
  flights_.pop_back();
}

void FlightTable::erase_done() {
  for (std::size_t i = flights_.size(); i-- > 0;) {
    if (flights_[i].done()) erase(flights_[i]);
  }
}

std::size_t FlightTable::unacked() const {
  return static_cast<std::size_t>(std::ranges::count_if(flights_, &Flight::unacked));
}

}  // namespace dunlin
