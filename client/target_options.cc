// SPDX-License-Identifier: BSD-3-Clause
#include "client/target_options.h"

#include <map>

#include "client/grant_file.h"

namespace lagan::client {

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
    app.parse_complete_callback([&options] {
        if (options.fabric == FabricKind::dpdk && !options.address.empty())
            throw CLI::ValidationError("--address", "goes with --fabric verbs");
    });
}

}  // namespace lagan::client
