// SPDX-License-Identifier: BSD-3-Clause
// A program that cuts its heap in pieces, as garbage collectors (mprotect) and keepers of secrets (mlock) do,
// and checks every word that it reads back: split_workload MODE [MIB]. Exit status 0: all was right; 1: a
// wrong word, told on standard output.
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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

// The pages of one heap block, and what each of them holds (0: zeros, not touched yet).
class Pages {
  public:
    explicit Pages(size_t count) : versions_(count) {
        void* memory = nullptr;
        if (posix_memalign(&memory, kPage, count * kPage) != 0) wrong("posix_memalign", count);
        memory_ = static_cast<uint64_t*>(memory);
    }

    size_t count() const { return versions_.size(); }
    uint64_t* at(size_t page) { return memory_ + page * kWords; }

    void write(size_t page) {
        ++versions_[page];
        for (size_t word = 0; word < kWords; ++word)
            at(page)[word] = expected(page, word);
    }
    void check(size_t page) {
        for (size_t word = 0; word < kWords; ++word) {
            if (at(page)[word] != expected(page, word)) wrong("page", page);
        }
    }

  private:
    uint64_t expected(size_t page, size_t word) const {
        return versions_[page] == 0 ? 0
                                    : (page * 1000003 + versions_[page] * 7919 + word) * 0x9e3779b97f4a7c15u;
    }

    uint64_t* memory_;
    std::vector<uint32_t> versions_;
};

void must(int result, const char* call, size_t page) {
    if (result != 0) wrong(call, page);
}

// In order, so that the pager works ahead across the borders, then at random. `writable(page)` says where it
// may write; it reads everywhere.
template <typename Writable>
void use(Pages& pages, std::mt19937_64& random, Writable writable) {
    for (int round = 0; round < 2; ++round) {
        for (size_t page = 0; page < pages.count(); ++page)
            writable(page) ? pages.write(page) : pages.check(page);
        for (size_t page = 0; page < pages.count(); ++page)
            pages.check(page);
    }
    for (size_t step = 0; step < pages.count(); ++step) {
        const size_t page = random() % pages.count();
        pages.check(page);
        if (writable(page)) pages.write(page);
    }
}

void protect(Pages& pages, std::mt19937_64& random) {
    const auto read_only = [](size_t page) { return page % 5 == 2 || page % 64 > 60; };
    const auto set = [&](size_t page, int protection) {
        must(mprotect(pages.at(page), kPage, protection), "mprotect", page);
    };
    const auto set_all = [&](int protection) {
        for (size_t page = 0; page < pages.count(); ++page) {
            if (read_only(page)) set(page, protection);
        }
    };
    set_all(PROT_READ);
    use(pages, random, [&](size_t page) { return !read_only(page); });
    set_all(PROT_READ | PROT_WRITE);
    use(pages, random, [](size_t) { return true; });
    // Now they hold something.
    set_all(PROT_READ);
    use(pages, random, [&](size_t page) { return !read_only(page); });
    for (size_t step = 0; step < pages.count(); ++step) {
        const size_t page = random() % pages.count();
        set(page, random() % 2 == 0 ? PROT_NONE : PROT_READ);
        pages.check((page + 1) % pages.count());
        set(page, PROT_READ | PROT_WRITE);
        pages.write(page);
    }
    for (size_t page = 0; page < pages.count(); ++page)
        pages.check(page);
}

void lock(Pages& pages, std::mt19937_64& random) {
    // Few: there is a limit on locked memory.
    const auto locked = [](size_t page) { return page % 11 == 4; };
    for (size_t page = 0; page < pages.count(); ++page) {
        if (locked(page)) must(mlock(pages.at(page), kPage), "mlock", page);
    }
    use(pages, random, [](size_t) { return true; });
    for (size_t page = 0; page < pages.count(); ++page) {
        if (locked(page) && random() % 2 == 0) must(munlock(pages.at(page), kPage), "munlock", page);
    }
    use(pages, random, [](size_t) { return true; });
}

void unmap(Pages& pages, std::mt19937_64& random) {
    std::vector<bool> there(pages.count(), true);
    const auto take = [&](size_t first, size_t count) {
        must(munmap(pages.at(first), count * kPage), "munmap", first);
        std::fill_n(there.begin() + static_cast<std::ptrdiff_t>(first), count, false);
    };
    const auto each = [&](auto action) {
        for (size_t page = 0; page < pages.count(); ++page) {
            if (there[page]) action(page);
        }
    };
    each([&](size_t page) { pages.write(page); });
    // What was written last, more than local memory holds: it must make room for the others.
    take(pages.count() / 2, pages.count() / 2);
    each([&](size_t page) { pages.check(page); });
    for (size_t first = 3; first + 4 < pages.count() / 2; first += 13) {
        take(first, 1 + random() % 4);
        // A mapping that the pager knows nothing of takes the place.
        void* at = pages.at(first);
        const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        if (random() % 2 == 0 && mmap(at, kPage, PROT_READ | PROT_WRITE, how, -1, 0) != at)
            wrong("mmap", first);
    }
    for (int round = 0; round < 4; ++round) {
        each([&](size_t page) { pages.check(page); });
        each([&](size_t page) { pages.write(page); });
    }
    each([&](size_t page) { pages.check(page); });
}

// A thread waits in a system call for a page that is unmapped meanwhile: it must be told.
void unmap_waited_for(Pages& pages, std::mt19937_64& random) {
    int ends[2];
    must(pipe(ends), "pipe", 0);
    for (size_t page = 0; page < pages.count(); ++page)
        pages.write(page);
    size_t refused = 0;
    for (size_t page = 0; page < 20; ++page) {
        bool failed = false;
        std::thread waiting([&] { failed = write(ends[1], pages.at(page), 1) < 0 && errno == EFAULT; });
        usleep(static_cast<useconds_t>(random() % 3000));
        must(munmap(pages.at(page), kPage), "munmap", page);
        waiting.join();
        refused += failed ? 1 : 0;
    }
    std::printf("refused %zu\n", refused);
    for (size_t page = 20; page < pages.count(); ++page)
        pages.check(page);
}

// Pages that move would leave what they hold behind: refused, and nothing is lost.
void remap(Pages& pages, std::mt19937_64& random) {
    for (size_t page = 0; page < pages.count(); ++page)
        pages.write(page);
    const size_t half = pages.count() / 2 * kPage;
    const auto refused = [](void* result, const char* what) {
        if (result != MAP_FAILED || errno != ENOMEM) wrong(what, 0);
    };
    refused(mremap(pages.at(0), half, half, MREMAP_MAYMOVE | MREMAP_DONTUNMAP),
            "mremap, the pages left behind");
    refused(mremap(pages.at(0), half, 2 * half, MREMAP_MAYMOVE), "mremap to more");
    refused(mremap(pages.at(0), half, kPage, 0), "mremap to less");
    void* local = mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int onto = MREMAP_MAYMOVE | MREMAP_FIXED;
    refused(mremap(local, 2 * kPage, 2 * kPage, onto, pages.at(1)), "mremap onto the heap");
    // Elsewhere it works as ever.
    void* moved = mremap(local, 2 * kPage, 4 * kPage, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) wrong("mremap of local memory", 0);
    use(pages, random, [](size_t) { return true; });
}

}  // namespace

int main(int argc, char** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    Pages pages((argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 16) * 256);
    std::mt19937_64 random(5);
    if (mode == "mprotect")
        protect(pages, random);
    else if (mode == "mlock")
        lock(pages, random);
    else if (mode == "munmap")
        unmap(pages, random);
    else if (mode == "mremap")
        remap(pages, random);
    else if (mode == "munmap_waited_for")
        unmap_waited_for(pages, random);
    else {
        std::printf("modes: mprotect mlock munmap mremap munmap_waited_for\n");
        return 2;
    }
    std::printf("all right\n");
    return 0;
}
