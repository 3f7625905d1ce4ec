// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <stdexcept>

#include "client/commands/wait.h"
#include "client/commands/where.h"

namespace lagan::client::commands {

namespace {

const char* from_environment(const char* name) {
    return std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
}

constexpr const char* kOfManager =
    "this is asked of lagan-mgmtd: say --manager URL (or LAGAN_MANAGER, or manager in ~/.config/lagan/"
    "config.toml)";

int complain(int status, const std::string& text) {
    fmt::print(stderr, "lagan: {}\n", text);
    return status;
}

// Errors become a line and a status.
int run(const Options& options, Asks asks, Command command) {
    try {
        Where where = options.where;
        if (asks == Asks::appliance) {
            if (where.appliance.empty()) where = {.manager = {}, .appliance = kDefaultAppliance};
        } else {
            where = complete_where(where, from_environment);
            if (asks == Asks::manager && where.manager.urls.empty()) return complain(kWrongUsage, kOfManager);
        }
        Server server(where);
        return command(server, options);
    } catch (const Refused& refused) {
        const bool token = refused.status == 401 || refused.status == 403;
        return complain(token ? kNotAllowed : kFailed, refused.what());
    } catch (const StillUnderWay& error) {
        return complain(kUnderWay, error.what());
    } catch (const std::invalid_argument& error) {
        return complain(kWrongUsage, error.what());
    } catch (const nlohmann::json::exception& error) {
        return complain(kUnreachable,
                        fmt::format("the answer is not what this version expects: {}", error.what()));
    } catch (const std::exception& error) {
        return complain(kUnreachable, error.what());
    }
}

}  // namespace

std::string path_of(const char* collection, const std::string& name, const std::string& behind) {
    const bool good = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
    });
    if (!good)
        throw std::invalid_argument(
            fmt::format("\"{}\" is no name: these have letters, digits, \".\", \"_\" and \"-\"", name));
    return fmt::format("/v1/{}/{}{}", collection, name, behind);
}

CLI::App* Builder::group(CLI::App& parent, const char* name, const char* about, const char* footer) {
    CLI::App* app = parent.add_subcommand(name, about);
    app->require_subcommand(1);
    app->footer(footer);
    return app;
}

void Builder::where(CLI::App& app, Asks asks) {
    Where& where = options_.where;
    if (asks != Asks::appliance) {
        auto* manager = app.add_option("--manager", where.manager.urls,
                                       "lagan-mgmtd's address: https://HOST:PORT, http://127.0.0.1:PORT or "
                                       "unix:PATH; again for each further one of a cluster (LAGAN_MANAGER)")
                            ->allow_extra_args(false)
                            ->option_text("URL");
        app.add_option("--token-file", where.manager.token_file,
                       "A file with the manager's token (LAGAN_TOKEN_FILE)")
            ->option_text("FILE");
        app.add_option("--ca", where.manager.ca,
                       "Of the manager's certificate (LAGAN_CA; default: the system's)")
            ->option_text("FILE");
        if (asks == Asks::either)
            app.add_option("--appliance", where.appliance,
                           "Ask this appliance alone: its node API's socket (default, when no manager is "
                           "known: " +
                               std::string(kDefaultAppliance) + ")")
                ->option_text("SOCKET")
                ->excludes(manager);
    } else {
        app.add_option("--appliance", where.appliance, "The node API's socket of the appliance")
            ->option_text("SOCKET [" + std::string(kDefaultAppliance) + "]");
    }
    app.add_flag("--json", options_.json, "Print what the API answers");
}

void Builder::choose(CLI::App& app, Asks asks, Command command) {
    app.callback([this, &app, asks, command] {
        if (app.get_subcommands().empty())
            chosen_ = [this, asks, command] { return run(options_, asks, command); };
    });
}

CLI::App* Builder::add(CLI::App& parent, const char* name, const char* about, Asks asks, Command command) {
    CLI::App* app = parent.add_subcommand(name, about);
    where(*app, asks);
    choose(*app, asks, command);
    return app;
}

CLI::Option* Builder::region(CLI::App* app, bool required) {
    return app->add_option("region", options_.region, "The region's name")
        ->required(required)
        ->option_text("REGION");
}

void Builder::node(CLI::App* app) {
    app->add_option("node", options_.node, "The node's name")->required()->option_text("NODE");
}

void Builder::to(CLI::App* app, const char* about) {
    app->add_option("--to", options_.target, about)->option_text("NODE");
}

void Builder::room(CLI::App* app) {
    app->add_option("--reserve", options_.reserve, "Memory that is kept for it (default: its size)")
        ->option_text("SIZE");
    app->add_flag("--overcommit", options_.overcommit, "The reserve may be smaller than the size");
}

void Builder::wait(CLI::App* app) {
    auto* no_wait = app->add_flag("--no-wait", options_.no_wait, "Do not wait for its end");
    app->add_option("--timeout", options_.timeout_s,
                    "Wait so long at most; it goes on then, and the exit status is 5")
        ->option_text("SECONDS")
        ->excludes(no_wait);
}

void Builder::key(CLI::App* app) {
    app->add_option("--idempotency-key", options_.key,
                    "When this command is given again with the same key, nothing is done twice, and the "
                    "answer is the first one's (managers)")
        ->option_text("TEXT");
}

}  // namespace lagan::client::commands
