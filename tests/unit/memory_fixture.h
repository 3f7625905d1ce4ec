// SPDX-License-Identifier: BSD-3-Clause
// What the memory tests share: an EAL without devices or huge pages, RCU state, a pool on plain memory,
// seeds.
#pragma once

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_rcu_qsbr.h>
#include <sched.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "datapath/memory/frame_pool.h"

namespace lagan::test {

struct Eal {
    Eal() {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        sched_getaffinity(0, sizeof(cpus), &cpus);
        int cpu = 0;
        while (!CPU_ISSET(cpu, &cpus))
            ++cpu;
        std::vector<std::string> args{"test",
                                      "--no-huge",
                                      "--no-shconf",
                                      "-m",
                                      "64",
                                      "--no-pci",
                                      "--no-telemetry",
                                      "--iova-mode=va",
                                      "--log-level=error",
                                      "--file-prefix",
                                      "lagan_memory_test" + std::to_string(getpid()),
                                      "-l",
                                      std::to_string(cpu)};
        std::vector<char*> argv;
        for (std::string& arg : args)
            argv.push_back(arg.data());
        if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
            throw std::runtime_error(std::string("rte_eal_init: ") + rte_strerror(rte_errno));
        // Undo the pinning to one processor: the tests' threads are to run truly beside each other.
        sched_setaffinity(0, sizeof(cpus), &cpus);
    }
    ~Eal() { rte_eal_cleanup(); }
};

// Makes the current thread an lcore (own id, own frame cache) for its lifetime.
struct Lcore {
    Lcore() {
        if (rte_thread_register() != 0) throw std::runtime_error("rte_thread_register");
    }
    ~Lcore() { rte_thread_unregister(); }
};

class Rcu {
  public:
    explicit Rcu(uint32_t threads = 8) {
        const size_t bytes = rte_rcu_qsbr_get_memsize(threads);
        qsbr_ = static_cast<rte_rcu_qsbr*>(::operator new (bytes, std::align_val_t{64}));
        std::memset(static_cast<void*>(qsbr_), 0, bytes);
        rte_rcu_qsbr_init(qsbr_, threads);
    }
    ~Rcu() { ::operator delete (qsbr_, std::align_val_t{64}); }
    Rcu(const Rcu&) = delete;
    Rcu& operator=(const Rcu&) = delete;
    rte_rcu_qsbr* get() { return qsbr_; }

    void online(unsigned id) {
        rte_rcu_qsbr_thread_register(qsbr_, id);
        rte_rcu_qsbr_thread_online(qsbr_, id);
    }
    void offline(unsigned id) {
        rte_rcu_qsbr_thread_offline(qsbr_, id);
        rte_rcu_qsbr_thread_unregister(qsbr_, id);
    }
    void quiescent(unsigned id) { rte_rcu_qsbr_quiescent(qsbr_, id); }

  private:
    rte_rcu_qsbr* qsbr_;
};

// Zeroed memory aligned to a page.
class Memory {
  public:
    explicit Memory(size_t bytes)
        : bytes_(bytes), data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{4096}))) {
        std::memset(data_, 0, bytes);
    }
    ~Memory() { ::operator delete (data_, std::align_val_t{4096}); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    std::span<std::byte> bytes() { return {data_, bytes_}; }

  private:
    size_t bytes_;
    std::byte* data_;
};

struct PoolMemory {
    explicit PoolMemory(uint32_t frames)
        : frame_memory(size_t{frames} * memory::kPageBytes), meta(frames), pool(frame_memory.bytes(), meta) {}
    Memory frame_memory;
    std::vector<memory::FrameMeta> meta;
    memory::FramePool pool;
};

// Drops one mbuf's reference in the way that DPDK does when the mbuf is freed.
inline void drop_reference(memory::FramePool& pool, memory::FrameIndex frame) {
    rte_mbuf_ext_shared_info& info = pool.meta(frame).shinfo;
    if (rte_mbuf_ext_refcnt_update(&info, -1) == 0) info.free_cb(pool.data(frame) + 17, info.fcb_opaque);
}

// LAGAN_TEST_SEED replays a run.
inline uint64_t seed() {
    const char* given = std::getenv("LAGAN_TEST_SEED");
    const uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    BOOST_TEST_MESSAGE("LAGAN_TEST_SEED=" << value);
    return value;
}

}  // namespace lagan::test
