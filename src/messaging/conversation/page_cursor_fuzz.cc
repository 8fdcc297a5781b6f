#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "messaging/conversation/conversation_list.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace {

using namespace dunlin;

// Six conversations of alice's, three of them read.
struct Account {
  static MemoryStoreOptions options(const Clock& clock) {
    MemoryStoreOptions out;
    out.clock = &clock;
    return out;
  }
  Account() {
    for (const char* peer : {"bob", "carol", "dora", "emil", "fred", "alice"}) {
      AppendRequest request;
      request.message = Message::create({private_conversation(peer, "alice").view(), peer, "m", {}, "{}"});
      store.append({&request, 1});
    }
    for (const char* peer : {"bob", "dora", "fred"}) {
      const ReadRaise raise{UserId("alice"), private_conversation(peer, "alice"), MessageSeq(1), {UserId(peer)}};
      CHECK(block_on(state.raise_read(raise)).ok());
    }
  }
  SystemClock clock;
  MemoryMessageStore store{options(clock)};
  MemoryStateStore state{store};
  ConversationList list{store, store, state};
};

}  // namespace

// Whatever a client gives back as a page cursor: refused as bad_request, or one page of conversations that are his. The text goes in as it
// is, behind a good phase and epoch, and between these and a conversation that is hers or none of hers.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Account account;
  const std::string text(reinterpret_cast<const char*>(data), size);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string epoch;
  for (int shift = 60; shift >= 0; shift -= 4) epoch += kHex[(account.store.epoch().value >> shift) & 15];
  std::vector<std::string> cursors{text};
  for (const char* phase : {"n.", "a.", "c.", "r.", "l."}) {
    for (const char* line : {"", ".p5:alice:bob", ".p4:emil:fred"}) cursors.push_back(phase + epoch + "." + text + line);
  }
  for (const std::string& cursor : cursors) {
    if (cursor.empty()) continue;
    ConversationListQuery query;
    query.user = UserId("alice");
    query.limit = 2;
    query.page = cursor;
    const auto page = block_on(account.list.list(std::move(query)));
    if (!page.ok()) {
      CHECK(page.error().code() == ErrorCode::BadRequest);
      continue;
    }
    CHECK(page->conversations.size() <= 2);
    for (const ConversationSummary& line : page->conversations) {
      CHECK(line.last_seq == MessageSeq(1));
      CHECK(parse_private(line.conversation.view())->has("alice"));
    }
    CHECK(page->snapshot.value() <= account.store.feed_end().value());
  }
  return 0;
}
