// SPDX-License-Identifier: BSD-3-Clause
#include "client/run/appliance_store.h"

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <random>
#include <string>

#include "client/connect.h"

namespace lagan::client::run {

namespace {

// Members in the order in which they depend on each other.
class ApplianceConnection {
  public:
    ApplianceConnection(const std::filesystem::path& node_socket, uint64_t region_bytes)
        : node_(node_socket),
          port_(claim_port(node_)),
          host_(std::make_shared<DpdkHost>(host_options(port_.port))) {
        // The process number is for people; the rest keeps apart what two machines or two boots would name
        // alike.
        const std::string name =
            "run-" + std::to_string(getpid()) + "-" + std::to_string(std::random_device{}());
        create_temporary_region(node_, name, region_bytes);
        region_ = name;
        try {
            session_ = open_session(host_, node_, port_.port, region_, Role::write);
        } catch (...) {
            remove_region();
            throw;
        }
    }
    ~ApplianceConnection() {
        session_->disconnect();
        session_.reset();
        remove_region();
    }
    ApplianceConnection(const ApplianceConnection&) = delete;
    ApplianceConnection& operator=(const ApplianceConnection&) = delete;

    Session& session() { return *session_; }

  private:
    // The run is over whether it succeeds or not, so it is only told.
    void remove_region() const {
        try {
            delete_region(node_, region_);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "lagan: region '%s' stays at the appliance: %s\n", region_.c_str(),
                         error.what());
        }
    }

    NodeClient node_;
    PortClaim port_;
    std::shared_ptr<DpdkHost> host_;
    std::string region_;
    std::unique_ptr<Session> session_;
};

}  // namespace

std::shared_ptr<PageStore> open_appliance_store(const std::filesystem::path& node_socket,
                                                uint64_t region_bytes) {
    auto connection = std::make_shared<ApplianceConnection>(node_socket, region_bytes);
    PageStore* store = &connection->session();
    return {std::move(connection), store};
}

}  // namespace lagan::client::run
