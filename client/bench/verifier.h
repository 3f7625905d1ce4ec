// SPDX-License-Identifier: BSD-3-Clause
// What must be in the region: a model of it in cells. Every write stamps its cells with (cell, version,
// seed), a free makes them zeros, and a read is compared with what could be there when it was carried out:
//
//   nothing older than what was acknowledged before the read was posted (on the writer's own connection,
//   where operations are carried out in order: nothing older than what was posted), and nothing newer than
//   what has been posted since.
//
// A cell has one writing connection; any connection may read it. Operations of the writer on a cell complete
// in order. Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lagan::bench {

class Verifier {
  public:
    static constexpr uint32_t kMinCellBytes = 64;

    // A region of zeros. cell_bytes divides 4096 and every offset and size given below.
    Verifier(uint64_t region_bytes, uint32_t cell_bytes, uint32_t seed);

    // May another write or free of this range be posted? Not while too many are under way to tell their
    // versions apart.
    bool writable(uint64_t offset, uint64_t bytes) const;

    // What the next write of this range carries. posted_write() once it has been posted.
    void fill(uint64_t offset, std::span<std::byte> to) const;
    void posted_write(uint64_t offset, uint64_t bytes) { posted(offset, bytes, false); }
    void posted_free(uint64_t offset, uint64_t bytes) { posted(offset, bytes, true); }
    void completed_change(uint64_t offset, uint64_t bytes);

    // The oldest version that a read posted now may find, for each of its cells; `own`: on the connection
    // that writes them.
    void posted_read(uint64_t offset, uint64_t bytes, bool own, std::vector<uint32_t>& oldest) const;
    // The read's data. Counts mismatches and keeps the words for the first of them.
    void check_read(uint64_t offset, std::span<const std::byte> data, std::span<const uint32_t> oldest);

    uint64_t cells_checked() const { return cells_checked_; }
    uint64_t mismatches() const { return mismatches_; }
    const std::vector<std::string>& reports() const { return reports_; }

  private:
    // Version 0 is the zeros of the beginning.
    struct Cell {
        uint32_t posted = 0;     // the newest version asked for
        uint32_t completed = 0;  // the newest one acknowledged
        uint64_t freed = 1;      // of the last 64 versions, by version % 64: is it a free?
    };
    static constexpr uint32_t kRemembered = 64;

    void posted(uint64_t offset, uint64_t bytes, bool is_free);
    uint64_t word(uint64_t cell, uint32_t version, uint32_t index) const;
    bool holds(std::span<const std::byte> data, uint64_t cell, uint32_t version) const;
    bool acceptable(std::span<const std::byte> data, uint64_t cell, uint32_t oldest) const;
    std::string describe(std::span<const std::byte> data, uint64_t cell, uint32_t oldest) const;

    uint32_t cell_bytes_;
    uint32_t seed_;
    std::vector<Cell> cells_;
    uint64_t cells_checked_ = 0;
    uint64_t mismatches_ = 0;
    std::vector<std::string> reports_;
};

}  // namespace lagan::bench
