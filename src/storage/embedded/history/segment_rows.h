#pragma once

#include <span>

#include "storage/embedded/history/catalog.h"
#include "storage/embedded/history/sorted_file.h"
#include "storage/embedded/history/sorted_segment.h"

namespace dunlin::embedded {

// One function a family: puts the rows that a segment gives to it into its file, in key order. A failure stays in the file, whose
// finish() tells it.
void write_meta_rows(const Catalog& next, SortedFile& file);
void write_timeline_rows(const SortedSegment& sorted, SortedFile& file);
void write_order_rows(const SortedSegment& sorted, SortedFile& file);  // into the activity file, before the activity rows
void write_activity_rows(const SortedSegment& sorted, SortedFile& file);
void write_dedup_rows(const SortedSegment& sorted, std::span<const DedupEntry> entries, SortedFile& file);
void write_head_rows(const SortedSegment& sorted, SortedFile& file);
void write_list_rows(const SortedSegment& sorted, SortedFile& file);

}  // namespace dunlin::embedded
