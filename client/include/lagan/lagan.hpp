// SPDX-License-Identifier: BSD-3-Clause
// C++ over lagan.h: errors are exceptions, the connection ends with its object.
#pragma once

#include <lagan/lagan.h>

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

namespace lagan {

struct Error : std::runtime_error {
    lagan_status status;
    Error(lagan_status s, const std::string& what) : std::runtime_error(what), status(s) {}
};

// One thread at a time; see lagan.h.
class FarMemory {
  public:
    // `appliance` is the node API's socket.
    FarMemory(const std::string& appliance, const std::string& region, lagan_role role = LAGAN_WRITE) {
        char why[256];
        region_.reset(lagan_open(appliance.c_str(), region.c_str(), role, why, sizeof why));
        if (region_ == nullptr) throw Error(LAGAN_LOST, why);
    }

    // Through an RDMA device; `grant` has LAGAN_GRANT_BYTES.
    FarMemory(const std::string& address, std::span<const std::byte> grant) {
        if (grant.size() != LAGAN_GRANT_BYTES) throw Error(LAGAN_INVALID, "a grant has 56 bytes");
        char why[256];
        region_.reset(lagan_open_verbs(address.c_str(), grant.data(), why, sizeof why));
        if (region_ == nullptr) throw Error(LAGAN_LOST, why);
    }

    // Wherever the region lives.
    FarMemory(const lagan_manager& manager, const std::string& region, lagan_role role = LAGAN_WRITE) {
        char why[256];
        region_.reset(lagan_open_managed(&manager, region.c_str(), role, why, sizeof why));
        if (region_ == nullptr) throw Error(LAGAN_LOST, why);
    }

    uint64_t size() const { return lagan_size(region_.get()); }

    void read(uint64_t offset, std::span<std::byte> to) {
        check(lagan_read(region_.get(), offset, to.data(), to.size()), "read");
    }
    // Whole pages.
    void store(uint64_t first_page, std::span<const std::byte> pages) {
        if (pages.size() % LAGAN_PAGE_BYTES != 0)
            throw Error(LAGAN_INVALID, "store: not a whole number of pages");
        check(lagan_store(region_.get(), first_page, pages.data(), pages.size() / LAGAN_PAGE_BYTES), "store");
    }
    void free(uint64_t first_page, uint64_t pages) {
        check(lagan_free(region_.get(), first_page, pages), "free");
    }

    // See lagan_reconnect().
    void reconnect(unsigned seconds) { lagan_reconnect(region_.get(), seconds); }

    lagan_region* handle() { return region_.get(); }  // for the asynchronous calls

  private:
    struct Closer {
        void operator()(lagan_region* region) const { lagan_close(region); }
    };
    void check(lagan_status status, const char* what) {
        if (status == LAGAN_OK) return;
        throw Error(status, std::string(what) + ": status " + std::to_string(status) + " " +
                                lagan_error(region_.get()));
    }

    std::unique_ptr<lagan_region, Closer> region_;
};

}  // namespace lagan
