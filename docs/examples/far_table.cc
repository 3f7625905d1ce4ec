// SPDX-License-Identifier: BSD-3-Clause
// Far memory from C++: a table of records that is larger than what this process keeps of it.
//
//   far_table SOCKET REGION        the region is there already
#include <array>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <lagan/lagan.hpp>

namespace {

struct Record {
    uint64_t key;
    uint64_t square;
};
constexpr uint64_t kRecordsPerPage = LAGAN_PAGE_BYTES / sizeof(Record);
using Page = std::array<Record, kRecordsPerPage>;

void fill(lagan::FarMemory& memory, uint64_t pages) {
    for (uint64_t i = 0; i < pages; i++) {
        Page page;
        for (uint64_t j = 0; j < kRecordsPerPage; j++) {
            const uint64_t key = i * kRecordsPerPage + j;
            page[j] = {key, key * key};
        }
        memory.store(i, std::as_bytes(std::span(page)));
    }
}

// Reads are of any byte range: one record costs one small READ.
Record look_up(lagan::FarMemory& memory, uint64_t key) {
    Record record;
    memory.read(key * sizeof record, std::as_writable_bytes(std::span(&record, 1)));
    return record;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: far_table SOCKET REGION\n");
        return 2;
    }
    try {
        lagan::FarMemory memory(argv[1], argv[2]);
        const uint64_t pages = memory.size() / LAGAN_PAGE_BYTES;
        fill(memory, pages);
        const uint64_t key = pages * kRecordsPerPage - 1;
        std::printf("%llu pages stored; the square of %llu is %llu\n", static_cast<unsigned long long>(pages),
                    static_cast<unsigned long long>(key),
                    static_cast<unsigned long long>(look_up(memory, key).square));
        memory.free(0, pages);
        look_up(memory, key + 1);  // beyond the end: an exception, and the connection goes on
    } catch (const std::exception& error) {
        std::fprintf(stderr, "far_table: %s\n", error.what());
        return 1;
    }
}
