// SPDX-License-Identifier: BSD-3-Clause
// What the pager needs of far memory: reads, stores and frees, all asynchronous. Session is the real one;
// tests have one in memory. Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "client/fabric.h"

namespace lagan::client {

class PageStore {
  public:
    PageStore() = default;
    virtual ~PageStore() = default;
    PageStore(const PageStore&) = delete;
    PageStore& operator=(const PageStore&) = delete;

    virtual uint64_t page_count() const = 0;

    // Fabric::register_memory(): for buffers that are used again and again.
    virtual void register_memory(std::span<std::byte> memory) = 0;

    // Each returns false when there is no room now: poll and try again. Buffers stay valid and unchanged
    // until the completion.
    //
    // Order on one page: a store or a free takes effect before whatever is asked for after it (a store or
    // read of a page whose free is under way is not accepted until the appliance has answered). A READ is
    // another matter: its response can be lost and the READ be executed again, behind a later store or free.
    // So wait for the completion of a read before storing or freeing what it reads.
    virtual bool read(uint64_t cookie, uint64_t offset, void* to, uint32_t bytes) = 0;
    virtual bool store_page(uint64_t cookie, uint64_t page, const void* from) = 0;
    virtual bool free_pages(uint64_t cookie, uint64_t first_page, uint32_t page_count) = 0;

    // Drives the connection; returns how many completions it filled in. Never blocks while the connection is
    // there; a store that reconnects by itself may, until its ReconnectOptions::interrupted is true.
    virtual size_t poll(std::span<Completion> out) = 0;

    // Waits until nothing is outstanding, and ends the connection if that takes too long: no buffer is
    // touched any more when this returns, and may go. Completions that come meanwhile are dropped. A
    // connection that is lost is not made again from now on.
    virtual void settle() = 0;

    virtual uint32_t outstanding() const = 0;  // accepted, and poll() has not given their completion yet
    virtual bool connected() const = 0;        // false once the connection has failed
    virtual std::string failure() const = 0;   // one line for people; empty while connected
    virtual uint64_t reconnections() const { return 0; }
    // That is why it is not connected: acknowledged stores are missing.
    virtual bool rolled_back() const { return false; }
};

}  // namespace lagan::client
