#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

#include "base/result.h"
#include "base/shared_bytes.h"

namespace dunlin {
namespace {

TEST(ErrorTableTest, NumbersAscendAndTellWhetherToReconnect) {
  std::set<std::string> names;
  unsigned before = 0;
  for (const ErrorInfo& row : error_table()) {
    const auto number = static_cast<unsigned>(row.code);
    EXPECT_GT(number, before);
    EXPECT_GE(number, 4000u);
    EXPECT_LE(number, 4999u);
    EXPECT_EQ(row.temporary, number < 4400) << row.name;
    EXPECT_TRUE(names.insert(std::string(row.name)).second) << row.name;
    before = number;
  }
  EXPECT_GE(names.size(), 20u);
}

TEST(ErrorTableTest, MapsInternalCodesBeforeTheyLeave) {
  for (const ErrorCode code : {ErrorCode::Io, ErrorCode::NoSpace, ErrorCode::Corrupt})
    EXPECT_EQ(wire_code(code), ErrorCode::StoreUnavailable);
  for (const ErrorCode code : {ErrorCode::Config, ErrorCode::Cancelled, ErrorCode::Busy}) EXPECT_EQ(wire_code(code), ErrorCode::Internal);
  EXPECT_EQ(error_info(ErrorCode::Io).name, "store_unavailable");
}

TEST(ErrorTest, AddsContextFromOutsideIn) {
  const Error error = Error(ErrorCode::Io, "read failed").with("segment 7").with("/data");
  EXPECT_EQ(error.context(), "/data: segment 7: read failed");
}

TEST(ErrorTest, ToldFromErrno) {
  EXPECT_EQ(errno_error("write", ENOSPC).code(), ErrorCode::NoSpace);
  EXPECT_EQ(errno_error("write", EIO).code(), ErrorCode::Io);
}

Result<int> half(int value) {
  if (value % 2) return Error(ErrorCode::BadRequest, "odd");
  return value / 2;
}

Result<int> quarter(int value) {
  TRY_ASSIGN(const int halved, half(value));
  return half(halved);
}

Status check_even(int value) {
  TRY(half(value));
  return {};
}

TEST(ResultTest, PassesValuesAndFailuresUp) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_FALSE(quarter(6).ok());
  EXPECT_EQ(quarter(7).error().code(), ErrorCode::BadRequest);
  EXPECT_TRUE(check_even(2).ok());
  EXPECT_FALSE(check_even(3).ok());
}

TEST(SharedBytesTest, SharesOneBlock) {
  SharedBytes first("abc");
  SharedBytes second = first;
  EXPECT_EQ(first.view().data(), second.view().data());
  first = SharedBytes();
  EXPECT_EQ(second.view(), "abc");
  EXPECT_TRUE(first.empty());
  EXPECT_TRUE(SharedBytes("").empty());
}

}  // namespace
}  // namespace dunlin
