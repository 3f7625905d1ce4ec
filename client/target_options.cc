// SPDX-License-Identifier: BSD-3-Clause
#include "client/target_options.h"

#include <map>

#include "client/grant_file.h"

namespace lagan::client {

namespace {

// Where the manager says that the region lives.
void add_manager_options(CLI::App& app, TargetOptions& options) {
    static const std::map<std::string, OnRollBack> policies = {{"stop", OnRollBack::stop},
                                                               {"continue", OnRollBack::go_on}};
    auto* manager =
        app.add_option("--manager", options.manager.urls,
                       "lagan-mgmtd's address: https://HOST:PORT, http://127.0.0.1:PORT or unix:PATH; "
                       "again for each further one of a cluster. It says where the region lives, also when "
                       "that changes")
            ->allow_extra_args(false)
            ->option_text("URL")
            ->excludes("--appliance")
            ->excludes("--address")
            ->excludes("--grant");
    app.add_option("--token-file", options.manager.token_file, "A file with the manager's token")
        ->option_text("FILE")
        ->needs(manager);
    app.add_option("--ca", options.manager.ca, "Of the manager's certificate (default: the system's)")
        ->option_text("FILE")
        ->needs(manager);
    app.add_option("--on-rollback", options.on_roll_back,
                   "When acknowledged stores are missing after a failover: stop, or go on without them")
        ->transform(CLI::CheckedTransformer(policies))
        ->option_text("{stop,continue} [stop]")
        ->needs(manager);
    app.add_option("--interface", options.own_port.interface,
                   "dpdk, with --manager: the network interface that leads to the appliances")
        ->option_text("NAME")
        ->needs(manager);
    app.add_option("--local-address", options.own_port.address,
                   "With --interface: an address there that nobody has, not the kernel either, 10.77.0.9/24")
        ->option_text("ADDRESS/LENGTH")
        ->needs("--interface");
}

void check(const TargetOptions& options) {
    const bool dpdk = options.fabric == FabricKind::dpdk;
    const bool own_port = !options.own_port.interface.empty();
    if (dpdk && !options.address.empty()) throw CLI::ValidationError("--address", "goes with --fabric verbs");
    if (!dpdk && own_port) throw CLI::ValidationError("--interface", "goes with --fabric dpdk");
    if (options.manager.urls.empty()) return;
    if (options.region.empty())
        throw CLI::ValidationError("--manager", "takes a region that is there: --region");
    if (dpdk && (!own_port || options.own_port.address.empty()))
        throw CLI::ValidationError(
            "--manager", "takes a way to all appliances: --interface and --local-address, or --fabric verbs");
}

}  // namespace

void add_target_options(CLI::App& app, TargetOptions& options) {
    static const std::map<std::string, FabricKind> kinds = {{"dpdk", FabricKind::dpdk},
                                                            {"verbs", FabricKind::verbs}};
    app.add_option(
           "--fabric", options.fabric,
           "dpdk: a vhost port of an appliance on this machine; verbs: this machine's RDMA device, an "
           "RNIC or rxe")
        ->transform(CLI::CheckedTransformer(kinds))
        ->option_text("{dpdk,verbs} [dpdk]");
    auto* appliance = app.add_option("--appliance", options.appliance,
                                     "The node API's socket of the appliance (for verbs, it may be "
                                     "forwarded from there: ssh -L)")
                          ->capture_default_str();
    app.add_option("--address", options.address,
                   "verbs: the appliance's address and port, 10.77.0.1:7471 (default: as the node API says)");
    app.add_option_function<std::string>(
           "--grant",
           [&options](const std::string& file) {
               try {
                   options.grant = read_grant_file(file);
               } catch (const std::runtime_error& error) {
                   throw CLI::ValidationError("--grant", error.what());
               }
           },
           "verbs, with --address: a file with a grant for a region that exists; the node API is not needed "
           "then")
        ->option_text("FILE")
        ->needs("--address")
        ->excludes(appliance);
    app.add_option("--reconnect-seconds", options.reconnect_seconds,
                   "How long an appliance that does not answer any more is waited for, before its memory is "
                   "taken for lost; 0: not at all")
        ->capture_default_str();
    add_manager_options(app, options);
    app.parse_complete_callback([&options] { check(options); });
}

}  // namespace lagan::client
