#pragma once

#include <optional>
#include <span>
#include <vector>

#include "storage/embedded/timeline_reader.h"

namespace dunlin::embedded {

// The ports' reads of several things at once. Those in memory give all or nothing and never wait; the others are for the offload pool
// and take from memory what is there.
std::optional<std::vector<TimelineEnd>> ends_in_memory(TimelineReader& reader, std::span<const ConversationId> conversations,
                                                       std::size_t max_bytes);
Result<std::vector<TimelineEnd>> read_ends(TimelineReader& reader, std::span<const ConversationId> conversations, std::size_t max_bytes);

std::optional<std::vector<RangePage>> ranges_in_memory(TimelineReader& reader, std::span<const RangeQuery> queries);
Result<std::vector<RangePage>> read_ranges(TimelineReader& reader, std::span<const RangeQuery> queries);

std::optional<std::vector<MessageSeq>> seqs_in_memory(TimelineReader& reader, std::span<const PlaceQuery> queries);
Result<std::vector<MessageSeq>> read_seqs(TimelineReader& reader, std::span<const PlaceQuery> queries);

}  // namespace dunlin::embedded
