#include "client/url.h"

#include <gtest/gtest.h>

namespace dunlin::client {
namespace {

TEST(Url, SchemeChoosesTransportTlsPortAndPath) {
  const auto ws = Url::parse("ws://localhost");
  ASSERT_TRUE(ws.ok());
  EXPECT_EQ(ws->transport, Url::Transport::WebSocket);
  EXPECT_EQ(ws->port, 8080);
  EXPECT_EQ(ws->target, "/im");
  EXPECT_FALSE(ws->tls);
  const auto tls = Url::parse("tls://chat.example");
  ASSERT_TRUE(tls.ok());
  EXPECT_EQ(tls->transport, Url::Transport::Tcp);
  EXPECT_EQ(tls->port, 8081);
  EXPECT_TRUE(tls->tls);
}

TEST(Url, HostPortAndPathAreTakenAsWritten) {
  const auto url = Url::parse("wss://127.0.0.1:9443/chat?x=1");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->authority(), "127.0.0.1:9443");
  EXPECT_EQ(url->target, "/chat?x=1");
}

TEST(Url, Ipv6AddressStandsInBrackets) {
  const auto url = Url::parse("ws://[::1]:7000/im");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->host, "::1");
  EXPECT_EQ(url->port, 7000);
  EXPECT_EQ(url->authority(), "[::1]:7000");
  EXPECT_TRUE(Url::parse("ws://[::1]").ok());
}

TEST(Url, WhatIsNoUrlIsRefused) {
  for (const char* text : {"", "localhost:8080", "http://x", "ws://", "ws://:80", "ws://h:0", "ws://h:65536", "ws://h:8a", "ws://[::1",
                           "ws://[::1]x", "ws://h/a b", "ws://h/\r\nX: y"}) {
    EXPECT_FALSE(Url::parse(text).ok()) << text;
  }
}

}  // namespace
}  // namespace dunlin::client
