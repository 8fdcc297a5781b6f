#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "messaging/ports/timelines.h"

namespace dunlin {

// Puts gaps NotVisible in the place of the messages that `hidden` names; neighbours are one gap. The page stays without a hole and in its
// order.
template <class Hidden>
void hide_messages(RangePage& page, bool newest_first, Hidden hidden) {
  std::vector<SeqGap> gaps;
  std::erase_if(page.messages, [&](const MessagePtr& message) {
    if (!hidden(*message)) return false;
    gaps.push_back({message->seq(), message->seq(), GapReason::NotVisible});
    return true;
  });
  if (gaps.empty()) return;
  gaps.insert(gaps.end(), page.gaps.begin(), page.gaps.end());
  std::ranges::sort(gaps, {}, &SeqGap::from);
  page.gaps.clear();
  for (const SeqGap& gap : gaps) {
    if (!page.gaps.empty() && page.gaps.back().reason == gap.reason && page.gaps.back().to.next() == gap.from) {
      page.gaps.back().to = gap.to;
    } else {
      page.gaps.push_back(gap);
    }
  }
  if (newest_first) std::ranges::reverse(page.gaps);
}

}  // namespace dunlin
