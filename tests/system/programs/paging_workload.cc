// SPDX-License-Identifier: BSD-3-Clause
// A program whose heap can be far memory, and which checks every byte that it reads back: paging_workload
// MODE [MIB]. Exit status 0: all was right; 1: a wrong byte, told on standard output.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kWords = kPage / sizeof(uint64_t);

[[noreturn]] void wrong(const char* what, size_t where) {
    std::printf("wrong: %s at %zu\n", what, where);
    std::exit(1);
}

uint64_t mix(uint64_t value) {
    value ^= value >> 31;
    value *= 0x9e3779b97f4a7c15u;
    return value ^ (value >> 29);
}

uint64_t pattern(uint64_t page, uint64_t version, size_t word) {
    return version == 0 ? 0 : mix(page * 1000003 + version * 7919 + word);
}

void write_page(uint64_t* page, uint64_t number, uint64_t version) {
    for (size_t word = 0; word < kWords; ++word)
        page[word] = pattern(number, version, word);
}

void check_page(const uint64_t* page, uint64_t number, uint64_t version) {
    for (size_t word = 0; word < kWords; ++word) {
        if (page[word] != pattern(number, version, word)) wrong("page", number);
    }
}

uint64_t* far_pages(size_t pages) {
    void* memory = nullptr;
    if (posix_memalign(&memory, kPage, pages * kPage) != 0) {
        std::printf("no memory\n");
        std::exit(2);
    }
    std::memset(memory, 0, pages * kPage);
    return static_cast<uint64_t*>(memory);
}

// Threads that each own every n-th page, read and write them at random and in order, and read single words of
// the others'.
void random_access(size_t mib, unsigned threads) {
    const size_t pages = mib * 256;
    uint64_t* memory = far_pages(pages);
    std::vector<uint32_t> versions(pages);
    std::vector<std::thread> running;
    std::atomic<uint64_t> sum{0};
    for (unsigned self = 0; self < threads; ++self) {
        running.emplace_back([&, self] {
            std::mt19937_64 random(self + 1);
            const size_t own = pages / threads;
            size_t at = 0;
            for (size_t step = 0; step < pages * 4 / threads; ++step) {
                at = (random() % 100 < 50 ? at + 1 : random()) % own;
                const size_t number = at * threads + self;
                uint64_t* page = memory + number * kWords;
                check_page(page, number, versions[number]);
                if (random() % 2 == 0) write_page(page, number, ++versions[number]);
                // Reads what another thread may be writing, as any bytes: it only has to go well.
                sum += __atomic_load_n(memory + random() % pages * kWords, __ATOMIC_RELAXED);
            }
        });
    }
    for (std::thread& thread : running)
        thread.join();
    for (size_t number = 0; number < pages; ++number)
        check_page(memory + number * kWords, number, versions[number]);
    std::free(memory);
}

// malloc, realloc and free of all sizes.
void heap(size_t mib) {
    struct Block {
        uint8_t* bytes;
        size_t size;
        uint8_t fill;
    };
    std::mt19937_64 random(7);
    std::vector<Block> blocks;
    size_t total = 0;
    const auto check = [](const Block& block, size_t size) {
        for (size_t i = 0; i < size; ++i) {
            if (block.bytes[i] != static_cast<uint8_t>(block.fill + i / 61)) wrong("block", i);
        }
    };
    const auto fill = [](Block& block, uint8_t value) {
        block.fill = value;
        for (size_t i = 0; i < block.size; ++i)
            block.bytes[i] = static_cast<uint8_t>(value + i / 61);
    };
    for (int step = 0; step < 40000; ++step) {
        const size_t size = 1 + random() % (size_t{1} << (4 + random() % 16));
        if (blocks.size() > 8 && (total > mib << 20 || random() % 3 == 0)) {
            const size_t which = random() % blocks.size();
            Block& block = blocks[which];
            if (random() % 2 == 0) {
                auto* moved = static_cast<uint8_t*>(std::realloc(block.bytes, size));
                block.bytes = moved;
                check(block, std::min(size, block.size));
                total += size - block.size;
                block.size = size;
                fill(block, static_cast<uint8_t>(random()));
            } else {
                check(block, block.size);
                std::free(block.bytes);
                total -= block.size;
                block = blocks.back();
                blocks.pop_back();
            }
        } else {
            Block block{static_cast<uint8_t*>(random() % 4 == 0 ? std::calloc(1, size) : std::malloc(size)),
                        size, 0};
            fill(block, static_cast<uint8_t>(random()));
            total += size;
            blocks.push_back(block);
        }
    }
    for (const Block& block : blocks) {
        check(block, block.size);
        std::free(block.bytes);
    }
}

// What the program discards reads as zeros; with a second thread that writes elsewhere meanwhile.
void discard(size_t mib) {
    const size_t pages = mib * 256;
    uint64_t* memory = far_pages(pages);
    std::vector<uint32_t> versions(pages);
    std::atomic<bool> stop{false};
    const size_t half = pages / 2;
    std::thread other([&] {
        std::mt19937_64 random(3);
        while (!stop) {
            const size_t number = half + random() % half;
            check_page(memory + number * kWords, number, versions[number]);
            write_page(memory + number * kWords, number, ++versions[number]);
        }
    });
    std::mt19937_64 random(4);
    for (int step = 0; step < 4000; ++step) {
        const size_t first = random() % half;
        const size_t count = std::min(half - first, 1 + static_cast<size_t>(random() % 64));
        for (size_t number = first; number < first + count; ++number) {
            check_page(memory + number * kWords, number, versions[number]);
            write_page(memory + number * kWords, number, ++versions[number]);
        }
        const size_t gone = first + random() % count;
        const size_t gone_count = 1 + random() % (first + count - gone);
        if (madvise(memory + gone * kWords, gone_count * kPage, MADV_DONTNEED) != 0) wrong("madvise", gone);
        for (size_t number = gone; number < gone + gone_count; ++number)
            versions[number] = 0;
        check_page(memory + gone * kWords, gone, 0);
    }
    stop = true;
    other.join();
    for (size_t number = 0; number < pages; ++number)
        check_page(memory + number * kWords, number, versions[number]);
    std::free(memory);
}

// Grows, gives everything back, and grows again: the allocator's purges must make room at the appliance too.
void grow(size_t mib) {
    for (int round = 0; round < 6; ++round) {
        std::vector<uint64_t*> parts;
        for (size_t part = 0; part < mib; ++part) {
            parts.push_back(far_pages(256));
            for (size_t i = 0; i < 256; ++i)
                write_page(parts.back() + i * kWords, part * 256 + i, 1);
        }
        for (size_t part = 0; part < mib; ++part) {
            for (size_t i = 0; i < 256; ++i)
                check_page(parts[part] + i * kWords, part * 256 + i, 1);
            std::free(parts[part]);
        }
        usleep(300000);
    }
}

// System calls whose buffers are absent pages.
void file_io(size_t mib) {
    const size_t pages = mib * 256;
    uint64_t* memory = far_pages(pages);
    char name[] = "paging_workload.XXXXXX";
    const int file = mkstemp(name);
    if (file < 0) wrong("mkstemp", 0);
    unlink(name);
    for (size_t number = 0; number < pages; ++number)
        write_page(memory + number * kWords, number, 1);
    const auto transfer = [&](auto call) {
        const size_t step = 37 * 1000;
        for (size_t at = 0; at < pages * kPage;) {
            const ssize_t done =
                call(file, reinterpret_cast<char*>(memory) + at, std::min(step, pages * kPage - at));
            if (done <= 0) wrong("file", at);
            at += static_cast<size_t>(done);
        }
    };
    transfer(write);
    std::memset(memory, 0xff, pages * kPage);
    lseek(file, 0, SEEK_SET);
    transfer(read);
    for (size_t number = 0; number < pages; ++number)
        check_page(memory + number * kWords, number, 1);
}

// A child made by fork alone must not see wrong bytes; the parent must not notice it.
void fork_child(size_t mib) {
    const size_t pages = mib * 256;
    uint64_t* memory = far_pages(pages);
    for (size_t number = 0; number < pages; ++number)
        write_page(memory + number * kWords, number, 1);
    const pid_t child = fork();
    if (child == 0) {
        for (size_t number = 0; number < pages; ++number) {
            for (size_t word = 0; word < kWords; ++word) {
                if (memory[number * kWords + word] != pattern(number, 1, word)) _exit(1);
            }
        }
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    std::printf("child: %s %d\n", WIFEXITED(status) ? "exit" : "signal",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1) wrong("forked child's memory", 0);
    // Programs that it starts are none of this.
    if (std::system("exit 3") != 3 << 8) wrong("system()", 0);
    for (size_t number = 0; number < pages; ++number)
        check_page(memory + number * kWords, number, 1);
}

// Asks for more than there is: NULL, and everything that it was given still right.
void exhaust(size_t) {
    constexpr size_t kBlock = 1 << 20;
    std::vector<uint64_t*> blocks;
    blocks.reserve(100000);
    while (auto* block = static_cast<uint64_t*>(std::malloc(kBlock))) {
        block[0] = blocks.size();
        block[kBlock / 8 - 1] = ~blocks.size();
        blocks.push_back(block);
        if (blocks.size() == 100000) wrong("no end of memory", 0);
    }
    if (errno != ENOMEM) wrong("errno", static_cast<size_t>(errno));
    for (size_t i = 0; i < blocks.size(); ++i) {
        if (blocks[i][0] != i || blocks[i][kBlock / 8 - 1] != ~i) wrong("block", i);
    }
    std::printf("got %zu MiB\n", blocks.size());
    for (uint64_t* block : blocks)
        std::free(block);
}

void wait_for_term(size_t mib) {
    uint64_t* memory = far_pages(mib * 256);
    write_page(memory, 1, 1);
    static volatile sig_atomic_t ended = 0;
    signal(SIGTERM, [](int) { ended = 1; });
    std::printf("waiting\n");
    std::fflush(stdout);
    while (ended == 0)
        usleep(1000);
    check_page(memory, 1, 1);
    std::exit(7);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    const size_t mib = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 16;
    if (mode == "random")
        random_access(mib, 1);
    else if (mode == "threads")
        random_access(mib, 8);
    else if (mode == "heap")
        heap(mib);
    else if (mode == "discard")
        discard(mib);
    else if (mode == "grow")
        grow(mib);
    else if (mode == "file")
        file_io(mib);
    else if (mode == "fork")
        fork_child(mib);
    else if (mode == "exhaust")
        exhaust(mib);
    else if (mode == "wait")
        wait_for_term(mib);
    else if (mode == "exec") {
        // The heap of this image is full of what the next one must not see.
        uint64_t* memory = far_pages(mib * 256);
        for (size_t number = 0; number < mib * 256; ++number)
            write_page(memory + number * kWords, number, 1);
        execl(argv[0], argv[0], "random", argc > 2 ? argv[2] : "16", nullptr);
        return 2;
    } else {
        std::printf("modes: random threads heap discard grow file fork exhaust wait exec\n");
        return 2;
    }
    std::printf("all right\n");
    return 0;
}
