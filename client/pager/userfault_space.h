// SPDX-License-Identifier: BSD-3-Clause
// AddressSpace of a real program: userfaultfd on a shared mapping of a memfd. The program has created both
// and registered the mapping for missing and write-protect faults (client/preload); here they are used from
// another process. Page contents are read through the memfd, never through a mapping of it: a read of a hole
// allocates nothing. Needs Linux 5.19 (write-protect on shmem).
#pragma once

#include "client/pager/address_space.h"
#include "client/pager/descriptor.h"

namespace lagan::client::pager {

class UserfaultSpace : public AddressSpace {
  public:
    UserfaultSpace(Descriptor userfault, Descriptor memory, uint64_t base, uint64_t bytes);

    uint32_t page_count() const override { return static_cast<uint32_t>(bytes_ / kPageBytes); }
    int event_descriptor() const override { return userfault_.get(); }
    size_t read_events(std::span<SpaceEvent> out) override;
    FillResult fill(uint32_t page, uint32_t count, const void* from, bool writable) override;
    FillResult fill_zero(uint32_t page, uint32_t count) override;
    SpaceStatus protect(uint32_t page, uint32_t count) override;
    SpaceStatus unprotect(uint32_t page, uint32_t count) override;
    void wake(uint32_t page, uint32_t count) override;
    void copy_out(uint32_t page, uint32_t count, void* to) override;
    void drop(uint32_t page, uint32_t count) override;

    // The bytes of memory that the mapping takes now, as the kernel counts them.
    uint64_t resident_bytes() const;

  private:
    uint64_t address(uint32_t page) const { return base_ + uint64_t{page} * kPageBytes; }
    SpaceStatus try_fill(uint32_t page, uint32_t count, const void* from, bool writable, uint32_t& done);
    SpaceStatus try_fill_zero(uint32_t page, uint32_t count, uint32_t& done);
    SpaceStatus try_protection(uint32_t page, uint32_t count, bool on);
    SpaceStatus set_protection(uint32_t page, uint32_t count, bool on);

    Descriptor userfault_;
    Descriptor memory_;
    uint64_t base_, bytes_;
};

}  // namespace lagan::client::pager
