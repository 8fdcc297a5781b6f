#pragma once

#include <cstdint>
#include <string_view>

namespace dunlin {

// What a server does with its log and its standard output so that they never hold it up (line_writer.h). Tools do nothing of this: they
// write directly, and wait for who reads.

// From here on log lines, what is printed on stderr, and print_line() are written by threads of their own. What was logged before a crash
// is still written, unless nobody takes it. Once, when the signals are blocked that the threads must not take.
void write_in_background();
// One line on stdout.
void print_line(std::string_view line);
// Before the process ends: waits until all is written, for half a second for each descriptor.
void flush_output();

std::uint64_t log_lines_dropped();

}  // namespace dunlin
