// SPDX-License-Identifier: BSD-3-Clause
// Heartbeats and fences as the node API takes them.
#define BOOST_TEST_MODULE lease_routes
#include "tests/unit/node_api_fixture.h"

using namespace lagan;
using namespace lagan::test;

namespace {

json region_of(const char* name, const char* uid = "00000000000000ff", uint64_t epoch = 3) {
    return {{"name", name}, {"uid", uid}, {"epoch", epoch}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_heartbeat_arrives_as_it_was_sent) {
    Fixture fixture;
    const NodeClient client = fixture.client();
    BOOST_REQUIRE(client.post("/v1/regions", {{"name", "r"}, {"size", 4096}, {"managed", true}}).status ==
                  201u);
    NodeReply reply = client.post(
        "/v1/heartbeat",
        {{"instance", "x"}, {"base_ms", 0}, {"ttl_ms", 2000}, {"regions", {region_of("r"), region_of("s")}}});
    BOOST_REQUIRE(reply.status == 200u);
    BOOST_TEST(reply.body["instance"] == "me");
    BOOST_TEST(reply.body["now_ms"] == 17);
    BOOST_TEST(reply.body["heartbeat"] == 3);
    BOOST_TEST(reply.body["node"] == "it");
    BOOST_TEST(reply.body["mode"] == "serve");
    BOOST_TEST(reply.body["regions"][0]["name"] == "r");
    BOOST_TEST(reply.body["regions"][0]["lease"] == "unmanaged");
    BOOST_TEST(reply.body["refused"] == json({{{"name", "r"}, {"reason", "why"}}}));
    BOOST_TEST(reply.body["memory"].contains("unclaimed_bytes"));
    const HeartbeatRequest& got = fixture.node.last_heartbeat;
    BOOST_TEST(got.instance == "x");
    BOOST_TEST(got.base_ms.value() == 0U);
    BOOST_TEST(got.ttl_ms == 2000U);
    BOOST_REQUIRE(got.regions.size() == 2U);
    BOOST_TEST(got.regions[1].name == "s");
    BOOST_TEST(got.regions[1].uid == 255U);
    BOOST_TEST(got.regions[1].epoch == 3U);

    // The first one knows no time of the node's yet.
    BOOST_TEST(client.post("/v1/heartbeat", json::object()).status == 200u);
    BOOST_TEST(!fixture.node.last_heartbeat.base_ms.has_value());
    BOOST_TEST(client.post("/v1/heartbeat", {{"ttl_ms", 2000}, {"regions", {region_of("r")}}}).status ==
               200u);
    BOOST_TEST(!fixture.node.last_heartbeat.base_ms.has_value());
}

BOOST_AUTO_TEST_CASE(bad_heartbeats_are_refused) {
    Fixture fixture;
    const NodeClient client = fixture.client();
    const json good = {
        {"instance", "x"}, {"base_ms", 5}, {"ttl_ms", 2000}, {"regions", json::array({region_of("r")})}};
    BOOST_REQUIRE(client.post("/v1/heartbeat", good).status == 200u);
    const auto with = [&](const char* key, const json& value) {
        json body = good;
        body[key] = value;
        return body;
    };
    const auto without = [&](const char* key) {
        json body = good;
        body.erase(key);
        return body;
    };
    json strange = region_of("r"), nameless = region_of("r");
    strange["lease"] = "valid";
    nameless.erase("name");
    const std::pair<json, const char*> cases[] = {
        {without("instance"), "instance"},
        {without("ttl_ms"), "ttl_ms"},
        {with("ttl_ms", 199), "ttl_ms"},
        {with("ttl_ms", 60001), "ttl_ms"},
        {with("base_ms", -1), "base_ms"},
        {with("base_ms", "5"), "base_ms"},
        {with("base_ms", ~0ULL), "base_ms"},
        {with("regions", "r"), "regions"},
        {with("regions", {"r"}), "regions"},
        {with("more", 1), "unknown field"},
        {with("regions", json::array({strange})), "unknown field"},
        {with("regions", json::array({nameless})), "name"},
        {with("regions", json::array({region_of("r", "ff")})), "uid"},
        {with("regions", json::array({region_of("r", "00000000000000fg")})), "uid"},
        {with("regions", json::array({region_of("r", "0x000000000000ff")})), "uid"},
        {with("regions", json::array({region_of("r", "00000000000000ff", 0)})), "epoch"},
    };
    for (const auto& [body, what] : cases) {
        const NodeReply reply = client.post("/v1/heartbeat", body);
        BOOST_TEST(reply.status == 422u, body.dump());
        BOOST_TEST(reply.body["detail"].get<std::string>().find(what) != std::string::npos,
                   reply.body.dump());
    }
    BOOST_TEST(client.get("/v1/heartbeat").status == 405u);
}

BOOST_AUTO_TEST_CASE(fences_and_epochs) {
    Fixture fixture;
    const NodeClient client = fixture.client();
    BOOST_REQUIRE(client.post("/v1/regions", {{"name", "r"}, {"size", 4096}}).status == 201u);
    BOOST_TEST(client.post("/v1/regions/r/fence", json::object()).status == 422u);
    BOOST_TEST(client.post("/v1/regions/r/fence", {{"epoch", 0}}).status == 422u);
    BOOST_TEST(client.post("/v1/regions/r/fence", {{"epoch", "2"}}).status == 422u);
    BOOST_TEST(client.post("/v1/regions/none/fence", {{"epoch", 2}}).status == 404u);
    const NodeReply reply = client.post("/v1/regions/r/fence", {{"epoch", 9}});
    BOOST_TEST(reply.status == 200u);
    BOOST_TEST(reply.body["lease"] == "fenced");
    BOOST_TEST(reply.body["fence_epoch"] == 9);
    BOOST_TEST(client.del("/v1/regions/r?epoch=7").status == 409u);
    BOOST_TEST(client.del("/v1/regions/r?epoch=x").status == 400u);
    BOOST_TEST(client.del("/v1/regions/r?epoch=0").status == 204u);
    BOOST_TEST(
        client.post("/v1/regions", {{"name", "t"}, {"size", 4096}, {"temporary", true}, {"managed", true}})
            .status == 422u);
}
