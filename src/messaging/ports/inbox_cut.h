#pragma once

#include <algorithm>
#include <cstddef>

namespace dunlin {

// Brings a page of entries that is whole up to its scanned_to (each record in (after, scanned_to] belongs to one of its entries) to the
// order and the limit that Inboxes::news_since() promises: what is beyond `limit` goes, and the page ends before the first record of that.
template <class Page, class Position>
void cut_entries(Page& page, Position after, std::size_t limit) {
  const auto begin = [&](const auto& entry) { return std::max(entry.first_position, after.next()); };
  std::ranges::stable_sort(page.entries, {}, begin);
  std::size_t keep = std::min(limit, page.entries.size());
  // Where those that reach over `after` begin is not known, so they stay together, or the page would not get anywhere.
  while (keep < page.entries.size() && begin(page.entries[keep]) == after.next()) ++keep;
  if (keep == page.entries.size()) return;
  page.scanned_to = begin(page.entries[keep]).prev();
  page.more = true;
  page.entries.resize(keep);
}

}  // namespace dunlin
