// SPDX-License-Identifier: BSD-3-Clause
#include "client/run/appliance_store.h"

#include <cstdio>
#include <stdexcept>

#include "client/grant_file.h"
#include "client/region_claim.h"

namespace lagan::client::run {

namespace {

// A session, and the region's last page kept out of sight where that holds the claim.
class ApplianceStore final : public PageStore {
  public:
    explicit ApplianceStore(const TargetOptions& options) : target_(options) {
        if (!options.grant.empty() && role_of_grant(options.grant) != Role::write)
            throw std::runtime_error("the grant does not allow to store: lagan run needs one of role write");
        session_ = target_.connect(Role::write);
        if (!target_.region_was_made()) claim_region(*session_);
    }
    ~ApplianceStore() override {
        // Nobody else would give back what the program left behind, and the claim.
        session_->settle();
        if (!target_.region_was_made()) empty_region();
        session_->disconnect();
    }

    uint64_t page_count() const override {
        return session_->page_count() - (target_.region_was_made() ? 0 : kClaimPages);
    }
    void register_memory(std::span<std::byte> memory) override { session_->register_memory(memory); }
    bool read(uint64_t cookie, uint64_t offset, void* to, uint32_t bytes) override {
        return session_->read(cookie, offset, to, bytes);
    }
    bool store_page(uint64_t cookie, uint64_t page, const void* from) override {
        return session_->store_page(cookie, page, from);
    }
    bool free_pages(uint64_t cookie, uint64_t first_page, uint32_t page_count) override {
        return session_->free_pages(cookie, first_page, page_count);
    }
    size_t poll(std::span<Completion> out) override { return session_->poll(out); }
    void settle() override { session_->settle(); }
    uint32_t outstanding() const override { return session_->outstanding(); }
    bool connected() const override { return session_->connected(); }
    std::string failure() const override { return session_->failure(); }
    uint64_t reconnections() const override { return session_->reconnections(); }
    bool rolled_back() const override { return session_->rolled_back(); }

  private:
    void empty_region() {
        if (session_->connected() &&
            session_->free_blocking(0, session_->page_count()) == CompletionStatus::success)
            return;
        std::fprintf(
            stderr,
            "lagan: the region stays in use, because it could not be emptied: %s; delete it and make "
            "it again\n",
            session_->failure().c_str());
    }

    Target target_;
    std::unique_ptr<Session> session_;  // goes before its target
};

}  // namespace

std::shared_ptr<PageStore> open_appliance_store(const TargetOptions& options) {
    return std::make_shared<ApplianceStore>(options);
}

}  // namespace lagan::client::run
