// SPDX-License-Identifier: BSD-3-Clause
// An RDMA client of an appliance on librdmacm and libibverbs alone, no header of Lagan: `plain_client
// --help`.
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plain_bench.h"
#include "plain_checks.h"

static const char kUsage[] =
    "Usage: plain_client check --server ADDRESS [--port PORT] --grants FILE [--only PATTERN] [--held FILE]\n"
    "       plain_client hold  --server ADDRESS [--port PORT] --grants FILE [--no-rtu]\n"
    "       plain_client bench --server ADDRESS [--port PORT] [--grants FILE] --operation read|write\n"
    "                          [--size BYTES] [--count N] [--depth N]\n"
    "       plain_client serve [--port PORT]\n"
    "\n"
    "check  prints PASS or FAIL for each check. The region must be new: all zeros. With --held it makes "
    "those\n"
    "       checks that need an appliance which stands still: it makes FILE.ready, and waits for FILE, which "
    "says so.\n"
    "hold   connects, says so and waits to be killed. With --no-rtu it never confirms the connection.\n"
    "bench  prints one JSON object: bytes a second, and the median latency at depth 1.\n"
    "serve  is a plain peer for bench, with memory in place of an appliance.\n"
    "\n"
    "FILE (- for standard input) has lines of a name and 112 hexadecimal digits, a grant of the node API.\n"
    "check needs write, read, expired and other (for another region), the rest write.\n";

static void usage_error(const char* text) {
    fprintf(stderr, "plain_client: %s; see --help\n", text);
    exit(2);
}

// --- what the checks use

bool unlike(struct checking* all, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(all->why, sizeof all->why, format, arguments);
    va_end(arguments);
    return false;
}

bool expect_status(struct checking* all, const char* what, enum ibv_wc_status got,
                   enum ibv_wc_status wanted) {
    return got == wanted || unlike(all, "%s completed with \"%s\", not \"%s\"", what, ibv_wc_status_str(got),
                                   ibv_wc_status_str(wanted));
}

bool wait_until_held(struct checking* all) {
    char ready[256];
    snprintf(ready, sizeof ready, "%s.ready", all->held);
    FILE* file = fopen(ready, "w");
    if (file == NULL) return unlike(all, "%s: %s", ready, strerror(errno));
    fclose(file);
    while (access(all->held, F_OK) != 0)
        usleep(20000);
    return true;
}

const uint8_t* grant_named(const struct checking* all, const char* name) {
    for (unsigned i = 0; i < all->grant_count; ++i)
        if (strcmp(all->grants[i].name, name) == 0) return all->grants[i].bytes;
    fprintf(stderr, "plain_client: no grant called \"%s\" in --grants\n", name);
    exit(2);
}

bool open_as(struct checking* all, struct link* link, const char* grant, struct link_options options) {
    options.server = all->server;
    options.port = all->port;
    options.grant = grant_named(all, grant);
    if (link_open(link, &options)) return true;
    return unlike(all, "no connection: %s %s", link->error, link->reject_text);
}

bool open_with(struct checking* all, struct link* link, const char* grant) {
    return open_as(all, link, grant, (struct link_options){0});
}

// --- the command line

static void read_grants(struct checking* all, const char* path) {
    FILE* file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    char digits[2 * kGrantBytes + 1];
    if (file == NULL) {
        fprintf(stderr, "plain_client: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    while (all->grant_count < kMaxGrants &&
           fscanf(file, "%15s %112[0-9a-f]", all->grants[all->grant_count].name, digits) == 2) {
        if (strlen(digits) != 2 * kGrantBytes) usage_error("a grant is 112 hexadecimal digits");
        for (unsigned i = 0; i < kGrantBytes; ++i) {
            unsigned byte;
            sscanf(digits + 2 * i, "%2x", &byte);
            all->grants[all->grant_count].bytes[i] = (uint8_t)byte;
        }
        ++all->grant_count;
    }
    if (file != stdin) fclose(file);
}

static unsigned run_list(struct checking* all, const struct check* check, const char* only) {
    unsigned failed = 0;
    for (; check->name != NULL; ++check) {
        if (fnmatch(only, check->name, 0) != 0) continue;
        const bool good = check->run(all);
        failed += !good;
        printf("%s %s%s%s\n", good ? "PASS" : "FAIL", check->name, good ? "" : ": ", good ? "" : all->why);
        fflush(stdout);
    }
    return failed;
}

static int run_checks(struct checking* all, const char* only) {
    unsigned failed = 0;
    struct link link;
    if (!open_with(all, &link, "write")) {
        fprintf(stderr, "plain_client: %s\n", all->why);
        return 1;
    }
    all->shadow_bytes = link.welcome.size_bytes;
    link_close(&link);
    if ((all->shadow = calloc(1, all->shadow_bytes)) == NULL) return 1;
    if (all->held != NULL)
        failed = run_list(all, kHeldChecks, only);
    else
        failed = run_list(all, kDataChecks, only) + run_list(all, kAtomicChecks, only) +
                 run_list(all, kRefusalChecks, only);
    free(all->shadow);
    return failed != 0;
}

static int hold(struct checking* all, bool without_rtu) {
    struct link link;
    if (!open_as(all, &link, "write", (struct link_options){.without_rtu = without_rtu})) {
        fprintf(stderr, "plain_client: %s\n", all->why);
        return 1;
    }
    printf("holding\n");
    fflush(stdout);
    for (;;)
        pause();
}

int main(int argc, char** argv) {
    static const struct option kOptions[] = {
        {"server", required_argument, NULL, 's'}, {"port", required_argument, NULL, 'p'},
        {"grants", required_argument, NULL, 'g'}, {"only", required_argument, NULL, 'o'},
        {"no-rtu", no_argument, NULL, 'n'},       {"operation", required_argument, NULL, 'O'},
        {"size", required_argument, NULL, 'S'},   {"count", required_argument, NULL, 'C'},
        {"depth", required_argument, NULL, 'D'},  {"held", required_argument, NULL, 'H'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    static struct checking all = {.port = "7471"};
    struct bench_options bench = {
        .operation = IBV_WR_RDMA_READ, .bytes = 4096, .count = 1000, .depth = kMaxReads};
    const char* only = "*";
    bool without_rtu = false;
    int option;
    while ((option = getopt_long(argc, argv, "h", kOptions, NULL)) != -1) {
        switch (option) {
            case 's':
                all.server = optarg;
                break;
            case 'p':
                all.port = optarg;
                break;
            case 'g':
                read_grants(&all, optarg);
                break;
            case 'o':
                only = optarg;
                break;
            case 'H':
                all.held = optarg;
                break;
            case 'n':
                without_rtu = true;
                break;
            case 'O':
                bench.operation = strcmp(optarg, "write") == 0 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
                break;
            case 'S':
                bench.bytes = (uint32_t)strtoul(optarg, NULL, 10);
                break;
            case 'C':
                bench.count = (unsigned)strtoul(optarg, NULL, 10);
                break;
            case 'D':
                bench.depth = (unsigned)strtoul(optarg, NULL, 10);
                break;
            case 'h':
                fputs(kUsage, stdout);
                return 0;
            default:
                usage_error("unknown option");
        }
    }
    if (optind + 1 != argc) usage_error("what to do: check, hold, bench or serve");
    const char* command = argv[optind];
    if (strcmp(command, "serve") == 0) return bench_serve(all.port);
    if (all.server == NULL) usage_error("--server is missing");
    if (strcmp(command, "check") == 0) return run_checks(&all, only);
    if (strcmp(command, "hold") == 0) return hold(&all, without_rtu);
    bench.link = (struct link_options){.server = all.server, .port = all.port};
    if (all.grant_count != 0) bench.link.grant = grant_named(&all, "write");
    if (strcmp(command, "bench") == 0) return bench_run(&bench);
    usage_error("what to do: check, hold, bench or serve");
}
