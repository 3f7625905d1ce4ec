// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/doctor_command.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "client/connect.h"
#include "client/doctor/appliance_checks.h"
#include "client/doctor/connection.h"
#include "client/doctor/host_checks.h"
#include "client/doctor/local_appliance.h"
#include "client/doctor/ping.h"
#include "client/doctor/rdma_devices.h"
#include "client/doctor/reach.h"
#include "client/run/preload_library.h"

namespace lagan::client::doctor {

namespace {

constexpr const char* kExamples = R"(Examples:
  lagan doctor                                        a program here, the appliance on this machine
  lagan doctor --address 10.77.0.1 --grant sort.grant a program here, the appliance elsewhere
  lagan doctor --config /etc/lagan/lagand.toml        this machine as an appliance
  lagan doctor --json | jq .problems

It changes nothing and needs no root; what it cannot see without, it says. Status 0: nothing stands in the way
(warnings do not count); 1: a problem was found; 2: wrong usage.)";

uint64_t now_unix_s() {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
            .count());
}

void examine_libraries(const Machine& machine, Findings& findings) {
    std::string preload, missing;
    try {
        preload = run::find_preload({});
    } catch (const std::exception& error) {
        missing = error.what();
    }
    check_preload(machine, preload, missing, findings);
}

std::optional<GrantFields> examine_grant(const DoctorOptions& options, const std::string& answering,
                                         Findings& findings) {
    if (options.grant.empty()) return std::nullopt;
    const auto grant = check_grant(options.grant, now_unix_s(), findings);
    if (grant && !answering.empty()) check_grant_at(*grant, answering, findings);
    return grant;
}

// The appliance's node API is on its own machine only.
std::string examine_local_appliance(const DoctorOptions& options, Findings& findings) {
    if (options.appliance.empty() && !options.address.empty()) {
        findings.skipped("appliance", "is elsewhere; there: lagan doctor --config /etc/lagan/lagand.toml");
        return {};
    }
    std::string socket = options.appliance.empty() ? kDefaultAppliance : options.appliance;
    const auto node = check_appliance(socket, findings);
    if (!node) return {};
    if (options.address.empty()) check_offer(*node, findings);
    return socket;
}

// Whether RDMA can be tried.
bool examine_way(const Machine& machine, const Target& target, Findings& findings) {
    const auto source = source_address(target);
    check_route(machine, target, source, findings);
    if (!source) return false;
    const Ping answer = ping(target.address);
    check_ping(target.address, answer, findings);
    const Interface* interface = interface_with(machine, *source);
    const unsigned mtu = interface != nullptr ? path_mtu(interface->mtu_bytes) : 0;
    if (answer == Ping::answered && mtu != 0)
        check_path(target.address, mtu, interface->name,
                   ping(target.address, largest_packet_bytes(target.address, mtu)), findings);
    return answer != Ping::silent && !rdma_ports(machine).empty();
}

Findings examine_host(const Machine& machine, const DoctorOptions& options) {
    Findings findings;
    check_processor(machine, findings);
    check_userfaultfd(machine, findings);
    examine_libraries(machine, findings);
    check_rdma(machine, !options.address.empty(), findings);
    check_memlock(machine, findings);
    const std::string answering = examine_local_appliance(options, findings);
    const auto grant = examine_grant(options, answering, findings);
    if (options.address.empty()) return findings;
    const Target target = parse_target(options.address);
    if (!examine_way(machine, target, findings)) return findings;
    // A grant that is bad already would only be refused.
    if (grant) {
        check_connection(target, try_connection(target, grant->bytes), options.grant, findings);
    } else if (options.grant.empty()) {
        check_connection(target, try_connection(target, {}), {}, findings);
    }
    return findings;
}

Findings examine_appliance(const Machine& machine, const DoctorOptions& options) {
    Findings findings;
    check_processor(machine, findings);
    const auto configuration = check_configuration(options.config, options.settings, findings);
    if (!configuration) {
        findings.skipped("lcores, memory, ports", "the configuration says what to look for");
        return findings;
    }
    const bool running = check_running(*configuration, findings);
    check_lcores(*configuration, appliance::usable_cpus(), findings);
    if (running) {
        findings.skipped("memory, huge pages", "the lagand that runs has them already");
    } else {
        check_memory(*configuration, findings);
        check_huge_pages(machine, *configuration, findings);
    }
    check_state_dir(machine, *configuration, findings);
    for (const appliance::PortOptions& port : configuration->ports)
        check_port(machine, port, findings);
    examine_grant(options, running ? configuration->node.api_socket.string() : "", findings);
    return findings;
}

}  // namespace

CLI::App* add_doctor(CLI::App& app, DoctorOptions& options) {
    CLI::App* doctor =
        app.add_subcommand("doctor", "Say what would stop Lagan from working here, and how to mend it");
    doctor->footer(kExamples);
    CLI::Option* config = doctor
                              ->add_option("--config", options.config,
                                           "Look at this machine as an appliance with this configuration")
                              ->type_name("FILE");
    doctor
        ->add_option("--set", options.settings,
                     "Change one key of the configuration; may be given several times")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false)
        ->needs(config);
    doctor
        ->add_option(
            "--appliance", options.appliance,
            std::string("The node API's socket of an appliance on this machine [") + kDefaultAppliance + "]")
        ->type_name("SOCKET")
        ->excludes(config);
    doctor->add_option("--address", options.address, "The appliance elsewhere that is to be reached by RDMA")
        ->type_name("IP[:PORT]")
        ->excludes(config);
    doctor->add_option("--grant", options.grant, "Look at the grant in this file")->type_name("FILE");
    doctor->add_flag("--json", options.json, "One JSON object instead of lines");
    return doctor;
}

Findings examine(const Machine& machine, const DoctorOptions& options) {
    return options.config.empty() ? examine_host(machine, options) : examine_appliance(machine, options);
}

int run(const DoctorOptions& options) {
    try {
        if (!options.address.empty()) parse_target(options.address);
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "lagan: --address: %s\n", error.what());
        return kWrongUsage;
    }
    try {
        const Findings findings = examine(Machine::this_one(), options);
        const std::string text =
            options.json
                ? to_json(findings).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
                : to_text(findings);
        std::fputs(text.c_str(), stdout);
        return findings.count(Verdict::problem) == 0 ? kNothingInTheWay : kProblemFound;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lagan: doctor: %s\n", error.what());
        return kProblemFound;
    }
}

}  // namespace lagan::client::doctor
