// SPDX-License-Identifier: BSD-3-Clause
// Memory that an RDMA device may reach. Registering pins it (it counts against RLIMIT_MEMLOCK) and takes a
// system call. Single-threaded.
#pragma once

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lagan::client {

// `error` of a call that takes locked memory, for people: names the limit and how to raise it if that is what
// stands in the way.
std::string no_memory(const std::string& what, int error);

struct Deregister {
    void operator()(ibv_mr* region) const { ibv_dereg_mr(region); }
};
using RegisteredMemory = std::unique_ptr<ibv_mr, Deregister>;

// Throws std::runtime_error (no_memory()).
RegisteredMemory register_with_device(ibv_pd* domain, const void* memory, size_t bytes, int access);

// What the owners of buffers have registered: few large pieces.
class VerbsMemory {
  public:
    explicit VerbsMemory(ibv_pd* domain) : domain_(domain) {}

    void add(std::span<std::byte> memory) {
        pieces_.push_back(
            register_with_device(domain_, memory.data(), memory.size(), IBV_ACCESS_LOCAL_WRITE));
    }

    // The piece that holds all of this, or null.
    const ibv_mr* find(const void* memory, size_t bytes) const {
        const auto at = reinterpret_cast<uintptr_t>(memory);
        for (const auto& piece : pieces_) {
            const uintptr_t begin = reinterpret_cast<uintptr_t>(piece->addr);
            if (at >= begin && at - begin <= piece->length && bytes <= piece->length - (at - begin))
                return piece.get();
        }
        return nullptr;
    }

  private:
    ibv_pd* domain_;
    std::vector<RegisteredMemory> pieces_;
};

}  // namespace lagan::client
