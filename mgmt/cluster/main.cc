// SPDX-License-Identifier: BSD-3-Clause
// lagan-mgmtd: the manager of a cluster of appliances.
#include <csignal>
#include <cstdio>
#include <exception>

#include "appliance/log.h"
#include "appliance/notify.h"
#include "mgmt/cluster/command_line.h"
#include "mgmt/cluster/manager.h"
#include "mgmt/cluster/token_command.h"

using namespace lagan;
using namespace lagan::cluster;

namespace {

constexpr int kStatusFailed = 1;
constexpr int kStatusBadConfiguration = 2;

int serve(const ManagerOptions& options) {
    appliance::start_log(options.log_level);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // in all threads to come
    std::signal(SIGPIPE, SIG_IGN);
    const Manager manager(options);
    spdlog::info("ready: {}", options.name);
    appliance::notify_service_manager("READY=1");
    int signal = 0;
    sigwait(&signals, &signal);
    spdlog::info("{}: stopping", signal == SIGTERM ? "SIGTERM" : "SIGINT");
    appliance::notify_service_manager("STOPPING=1");
    return 0;
}

int run(const CommandLine& line) {
    const ManagerOptions options = load_options(line.config, line.settings);
    if (line.check_config) {
        std::printf("%s: good\n", line.config.c_str());
        return 0;
    }
    if (line.token.wanted()) return run_token_command(options, line.token);
    return serve(options);
}

}  // namespace

int main(int argc, char** argv) {
    int status = 0;
    const auto line = parse_command_line(argc, argv, status);
    if (!line) return status;
    try {
        return run(*line);
    } catch (const appliance::OptionError& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return kStatusBadConfiguration;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lagan-mgmtd: %s\n", error.what());
        return kStatusFailed;
    }
}
