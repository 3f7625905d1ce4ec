// SPDX-License-Identifier: BSD-3-Clause
#include "client/run/appliance_store.h"

#include <fmt/format.h>

#include <stdexcept>

#include "client/grant_file.h"

namespace lagan::client::run {

namespace {

class ApplianceConnection {
  public:
    explicit ApplianceConnection(const TargetOptions& options) : target_(options) {
        if (!options.grant.empty() && role_of_grant(options.grant) != Role::write)
            throw std::runtime_error("the grant does not allow to store: lagan run needs one of role write");
        session_ = target_.connect(Role::write);
        if (!target_.region_was_made()) check_empty();
    }
    ~ApplianceConnection() {
        // Nobody else would give back what the program left behind.
        session_->settle();
        if (!target_.region_was_made() && session_->connected() && session_->outstanding() == 0)
            session_->free_blocking(0, session_->page_count());
        session_->disconnect();
    }
    ApplianceConnection(const ApplianceConnection&) = delete;
    ApplianceConnection& operator=(const ApplianceConnection&) = delete;

    Session& session() { return *session_; }

  private:
    // Someone's data, or those of a run that still goes on.
    void check_empty() {
        const Session::DirtyCounts counts = session_->dirty_counts_blocking();
        if (counts.present_pages != 0)
            throw std::runtime_error(fmt::format(
                "the region (id {}) is in use: it holds {} pages. lagan run takes an empty one, and "
                "empties it at the end; delete it and make it again if nobody needs them",
                session_->region().region_id, counts.present_pages));
    }

    Target target_;
    std::unique_ptr<Session> session_;  // goes before its target
};

}  // namespace

std::shared_ptr<PageStore> open_appliance_store(const TargetOptions& options) {
    auto connection = std::make_shared<ApplianceConnection>(options);
    PageStore* store = &connection->session();
    return {std::move(connection), store};
}

}  // namespace lagan::client::run
