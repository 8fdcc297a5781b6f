#include "storage/embedded/bulk_reads.h"

namespace dunlin::embedded {
namespace {

template <class T>
const Error& error_of(const Result<T>& result) {
  return result.error();
}
template <class T>
std::nullopt_t error_of(const std::optional<T>&) {
  return std::nullopt;
}
// One answer of `ask` (an optional or a Result) for each question, or the first that is none.
template <class Out, class Questions, class Ask>
Out ask_all(const Questions& questions, const Ask& ask) {
  std::decay_t<decltype(*std::declval<Out&>())> answers;
  answers.reserve(questions.size());
  for (const auto& question : questions) {
    auto answer = ask(question);
    if (!answer) return error_of(answer);
    answers.push_back(*std::move(answer));
  }
  return answers;
}

template <class Out, class Head, class Range>
Out all_ends(std::span<const ConversationId> conversations, std::size_t max_bytes, const Head& head_of, const Range& range_of) {
  std::vector<TimelineEnd> ends;
  std::size_t bytes = 0;
  for (const ConversationId& conversation : conversations) {
    if (bytes >= max_bytes && !ends.empty()) break;
    const auto head = head_of(conversation);
    if (!head) return error_of(head);
    TimelineEnd end{*head, {}};
    if (end.head.last_seq > MessageSeq(0)) {
      auto page = range_of(RangeQuery{conversation, end.head.last_seq, end.head.last_seq, 1, 1, false});
      if (!page) return error_of(page);
      if (!page->messages.empty()) end.last = std::move(page->messages.front());
    }
    if (end.last) bytes += end.last->footprint();
    ends.push_back(std::move(end));
  }
  return ends;
}

}  // namespace

std::optional<std::vector<TimelineEnd>> ends_in_memory(TimelineReader& reader, std::span<const ConversationId> conversations,
                                                       std::size_t max_bytes) {
  return all_ends<std::optional<std::vector<TimelineEnd>>>(
      conversations, max_bytes, [&](const ConversationId& id) { return reader.head_in_memory(id); },
      [&](const RangeQuery& query) { return reader.range_in_memory(query); });
}

Result<std::vector<TimelineEnd>> read_ends(TimelineReader& reader, std::span<const ConversationId> conversations, std::size_t max_bytes) {
  TimelineReader::Look look(reader);
  return all_ends<Result<std::vector<TimelineEnd>>>(
      conversations, max_bytes, [&](const ConversationId& id) { return reader.head(look, id); },
      [&](const RangeQuery& query) { return reader.range(look, query); });
}

std::optional<std::vector<RangePage>> ranges_in_memory(TimelineReader& reader, std::span<const RangeQuery> queries) {
  return ask_all<std::optional<std::vector<RangePage>>>(queries, [&](const RangeQuery& query) { return reader.range_in_memory(query); });
}

Result<std::vector<RangePage>> read_ranges(TimelineReader& reader, std::span<const RangeQuery> queries) {
  TimelineReader::Look look(reader);
  return ask_all<Result<std::vector<RangePage>>>(queries, [&](const RangeQuery& query) { return reader.range(look, query); });
}

std::optional<std::vector<MessageSeq>> seqs_in_memory(TimelineReader& reader, std::span<const PlaceQuery> queries) {
  return ask_all<std::optional<std::vector<MessageSeq>>>(
      queries, [&](const PlaceQuery& query) { return reader.seq_at_in_memory(query.conversation, query.position); });
}

Result<std::vector<MessageSeq>> read_seqs(TimelineReader& reader, std::span<const PlaceQuery> queries) {
  TimelineReader::Look look(reader);
  return ask_all<Result<std::vector<MessageSeq>>>(
      queries, [&](const PlaceQuery& query) { return reader.seq_at(look, query.conversation, query.position); });
}

}  // namespace dunlin::embedded
