// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/command_line.h"

namespace lagan::cluster {

namespace {

constexpr const char* kExamples = R"(Examples:
  lagan-mgmtd --config lagan-mgmtd.toml --check-config
  lagan-mgmtd --config lagan-mgmtd.toml token create --role admin        prints the token, once
  lagan-mgmtd --config lagan-mgmtd.toml token create --role tenant --tenant red --name red-app
  lagan-mgmtd --config lagan-mgmtd.toml

SIGTERM and SIGINT end it with status 0; another manager leads then. Status 1: it could not start; 2: the configuration is
wrong. The configuration's keys are explained in config/lagan-mgmtd.toml.)";

void add_token_commands(CLI::App& app, TokenCommand& token) {
    CLI::App* tokens = app.add_subcommand("token", "Look after the tokens in the directory");
    tokens->require_subcommand(1);
    tokens->fallthrough();
    CLI::App* create = tokens->add_subcommand("create", "Make one, and print it: nobody can see it again");
    create->fallthrough();
    create->add_option("--role", token.role, "viewer, tenant, operator or admin")->required();
    create->add_option("--tenant", token.tenant, "Whose regions a tenant's token is for");
    create->add_option("--name", token.name, "For the list of tokens")->capture_default_str();
    create->callback([&token] { token.what = TokenCommand::What::create; });
    CLI::App* list = tokens->add_subcommand("list", "Their ids, names and roles");
    list->fallthrough();
    list->callback([&token] { token.what = TokenCommand::What::list; });
    CLI::App* remove = tokens->add_subcommand("remove", "Nobody can use it any more");
    remove->fallthrough();
    remove->add_option("id", token.id, "Its id, as the list has it")->required();
    remove->callback([&token] { token.what = TokenCommand::What::remove; });
}

}  // namespace

std::optional<CommandLine> parse_command_line(int argc, char** argv, int& status) {
    CommandLine line;
    line.config = "/etc/lagan/lagan-mgmtd.toml";
    CLI::App app("lagan-mgmtd: manages appliances, and moves regions elsewhere when theirs is gone.",
                 "lagan-mgmtd");
    app.footer(kExamples);
    add_config_arguments(app, line);
    add_token_commands(app, line.token);
    if (!appliance::parse(app, argc, argv, status)) return std::nullopt;
    return line;
}

}  // namespace lagan::cluster
