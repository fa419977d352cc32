// The generated client against a real gateway, whose URL is in the environment.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import {
  ProblemError, contentOf, hedgerow, index, isPartial, search, type SearchAnswer,
} from "../index.js";

const url = process.env["GATEWAY_URL"];
const token = process.env["GATEWAY_TOKEN"];
assert.ok(url && token);
const gateway = hedgerow(`${url}/`, { token });
const lamps = { params: { path: { name: "lamps" } } };
const documents = [
  { id: "a", title: "a desk lamp of brass", brand: "acme", watts: 9 },
  { id: "b/c d", title: "a floor lamp", brand: "zeta", watts: 14 },
  { id: "e", title: "a lamp of glass", brand: "acme", watts: 20 },
];

before(async () => {
  const fields = { title: "text", brand: "keyword", watts: "integer" } as const;
  await contentOf(gateway.PUT("/v1/collections/{name}", { ...lamps, body: { fields } }));
  const loaded = await index(gateway, "lamps", documents);
  assert.deepEqual([loaded.accepted, loaded.rejected_total, loaded.applied], [3, 0, true]);
});

test("a search is answered as typed", async () => {
  const answer: SearchAnswer = await search(gateway, "lamps", { query: "desk lamp", k: 2, deadline_ms: 5000 });
  assert.equal(answer.hits[0]?.id, "a");
  const title: unknown = answer.hits[0]?.fields?.["title"];
  assert.equal(title, "a desk lamp of brass");
  assert.equal(answer.coverage.fraction, 1);
  assert.equal(isPartial(answer), false);
});

test("facets and an order are typed on both ways", async () => {
  const answer = await search(gateway, "lamps", {
    query: "lamp", deadline_ms: 5000, facets: { brand: { size: 5 } }, sort: [{ watts: "desc" }],
  });
  assert.deepEqual(answer.hits.map((hit) => hit.sort?.[0]), [20, 14, 9]);
  assert.deepEqual(answer.facets?.["brand"]?.buckets?.map(({ value, count }) => [value, count]), [["acme", 2], ["zeta", 1]]);
});

test("a document of any id is read as it was loaded", async () => {
  const path = { name: "lamps", document_id: "b/c d" };
  const found = await contentOf(gateway.GET("/v1/collections/{name}/documents/{document_id}", { params: { path } }));
  assert.deepEqual(found, documents[1]);
});

test("a refusal names the field and the reason", async () => {
  const asked = search(gateway, "lamps", { query: "lamp", filter: "colour:red" });
  await assert.rejects(asked, (error) => {
    assert.ok(error instanceof ProblemError);
    assert.equal(error.status, 400);
    assert.equal(error.problem.field, "filter");
    assert.match(error.message, /colour/);
    return true;
  });
});

test("a wrong key is refused", async () => {
  const stranger = hedgerow(url, { token: "wrong" });
  await assert.rejects(search(stranger, "lamps", { query: "lamp" }), { status: 401 });
});

test("a partial answer says so", async () => {
  const shard = (await search(gateway, "lamps", { query: "desk", deadline_ms: 5000 })).hits[0]?.shard ?? 0;
  const set = (state: "forced_open" | "closed") => contentOf(gateway.POST("/v1/shards/{shard}/breaker", {
    params: { path: { shard } }, body: { state },
  }));
  await set("forced_open");
  try {
    const answer = await search(gateway, "lamps", { query: "lamp", deadline_ms: 5000 });
    assert.equal(isPartial(answer), true);
    assert.ok(answer.coverage.fraction < 1);
    assert.deepEqual(answer.coverage.degraded, { breaker_open: 1 });
    await assert.rejects(search(gateway, "lamps", { query: "lamp", minimum_coverage: 1 }), { status: 504 });
  } finally {
    await set("closed");
  }
});

test("an abandoned search is cancelled", async () => {
  const leaving = AbortSignal.abort();
  await assert.rejects(search(gateway, "lamps", { query: "lamp" }, leaving), { name: "AbortError" });
});

/** Never called: the compiler checks that these are errors. */
export async function mistakes(): Promise<void> {
  // @ts-expect-error - a query is text
  await search(gateway, "lamps", { query: 3 });
  // @ts-expect-error - there is no such member
  await search(gateway, "lamps", { query: "lamp", limit: 3 });
  // @ts-expect-error - not one of its values
  await search(gateway, "lamps", { query: "lamp", typos: "some" });
  // @ts-expect-error - there is no such path
  await gateway.GET("/v1/lamps");
  const answer = await search(gateway, "lamps", { query: "lamp" });
  // @ts-expect-error - fields may be missing
  answer.hits[0].fields["title"];
}
