// SPDX-License-Identifier: BSD-3-Clause
// The lagan command: its words on the command line. What they do is in run/ and doctor/.
#include <cstdio>
#include <string>
#include <string_view>

#include "client/commands/commands.h"
#include "client/commands/completion.h"
#include "client/doctor/doctor_command.h"
#include "client/pager/attach_message.h"
#include "client/run/appliance_store.h"
#include "client/run/run_command.h"
#include "client/target_options.h"

static constexpr int kWrongUsage = 2;

static const char* const kRunExamples =
    R"(Examples:
  lagan run -- sort big.txt                            an appliance on this machine
  lagan run --local-memory 256M --progress -- python3 job.py
  lagan run --fabric verbs --address 10.77.0.1 --grant sort.grant -- sort big.txt
                                                       through an RNIC or rxe, with a grant
  ssh -fNL /tmp/far.sock:/run/lagan/lagand.sock far; lagan run --fabric verbs --appliance /tmp/far.sock -- sort big.txt
                                                       the same, with a region made for the run
  lagan run --fabric verbs --manager https://far:7480 --token-file token --region sort -- sort big.txt
                                                       wherever the region lives, also after a failover)";

int main(int argc, char** argv) {
    using namespace lagan::client;
    CLI::App app("Lagan: programs with their memory on an appliance");
    app.require_subcommand(1);

    CLI::App* version = app.add_subcommand("version", "Print the version");

    run::RunOptions options;
    TargetOptions target{.reconnect_seconds = 60};
    CLI::App* run = app.add_subcommand(
        "run", "Run a program with its heap in far memory: lagan run [OPTIONS] -- PROGRAM [ARGS]");
    run->add_option("--local-memory", options.local_memory_bytes,
                    "What the heap may take of this machine's memory")
        ->transform(CLI::AsSizeValue(false))
        ->default_str("64M");
    auto* region_size = run->add_option("--region-size", options.region_bytes,
                                        "How large the heap may become (default: 1G; with --grant or "
                                        "--region, as large as the region)")
                            ->transform(CLI::AsSizeValue(false));
    add_target_options(*run, target);
    run->add_option("--region", target.region, "With --manager: the region, which is there and empty")
        ->needs("--manager");
    run->add_option("--stats-file", options.stats_file, "Write all figures there at the end (JSON)");
    run->add_flag("--progress", options.progress, "One line a second on standard error");
    run->add_flag("!--no-prefetch", options.prefetch, "Do not fetch ahead");
    run->add_option("program", options.program, "The program and its arguments")->required();
    run->positionals_at_end();
    run->footer(kRunExamples);

    doctor::DoctorOptions doctor_options;
    const CLI::App* doctor = doctor::add_doctor(app, doctor_options);

    commands::Builder builder;
    commands::add_commands(app, builder);

    if (argc > 1 && std::string_view(argv[1]) == "__complete") {
        print(commands::complete(app, {argv + 2, argv + argc}, commands::known_names));
        return 0;
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        const int status = app.exit(error);
        if (status == 0) return 0;
        return run->parsed() ? pager::kExitLaganFailed : kWrongUsage;
    }
    if (version->parsed()) {
        std::printf("lagan %s\n", LAGAN_VERSION);
        return 0;
    }
    if (builder.chosen()) return builder.chosen()();
    if (doctor->parsed()) return doctor::run(doctor_options);
    options.whole_region = (!target.grant.empty() || !target.region.empty()) && region_size->empty();
    target.region_bytes = options.region_bytes;
    return run::run(options, [&](const run::RunOptions& running) {
        target.reconnect = {
            .tell = [](const std::string& line) { std::fprintf(stderr, "lagan: %s\n", line.c_str()); },
            .interrupted = running.interrupted};
        return run::open_appliance_store(target);
    });
}
