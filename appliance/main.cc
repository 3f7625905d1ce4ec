// SPDX-License-Identifier: BSD-3-Clause
// lagand: the appliance.
#include <csignal>
#include <cstdio>
#include <exception>

#include "appliance/appliance.h"
#include "appliance/command_line.h"
#include "appliance/control_loop.h"
#include "appliance/log.h"
#include "appliance/notify.h"

using namespace lagan::appliance;

namespace {

constexpr int kStatusFailed = 1;
constexpr int kStatusBadConfiguration = 2;

// In all threads to come: the control loop reads them when it is ready to.
void block_end_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int run(const Options& options) {
    start_log(options.log.level);
    block_end_signals();
    std::signal(SIGPIPE, SIG_IGN);
    Appliance appliance(options);
    try {
        start(appliance);
    } catch (const std::exception& error) {
        spdlog::error("{}", error.what());
        return kStatusFailed;
    }
    spdlog::info("ready: RDMA CM service {}, node {}", options.rdma.service_port, options.node.name);
    notify_service_manager("READY=1");

    const int signal = run_control_loop(appliance);
    spdlog::info("{}: stopping", signal == SIGTERM ? "SIGTERM" : "SIGINT");
    notify_service_manager("STOPPING=1");
    stop(appliance);
    spdlog::info("stopped");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    int status = 0;
    const auto line = parse_command_line(argc, argv, status);
    if (!line) return status;
    try {
        Options options = load_options(line->config, line->settings);
        options.start = {.empty_arena = line->empty_arena, .rescue = line->rescue};
        if (line->check_config) {
            std::printf("%s: good\n", line->config.c_str());
            return 0;
        }
        return run(options);
    } catch (const OptionError& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return kStatusBadConfiguration;
    }
}
