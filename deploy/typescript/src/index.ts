// A client of Hedgerow. The paths and shapes in schema.d.ts are generated from the OpenAPI document of
// the gateway; what is here connects them to it.

import createClient, { type Client, type ClientOptions } from "openapi-fetch";

import type { components, paths } from "./schema.js";

export type { components, paths };
export type Gateway = Client<paths>;
export type Schemas = components["schemas"];
export type SearchBody = Schemas["SearchBody"];
export type SearchAnswer = Schemas["SearchAnswer"];
export type Hit = Schemas["Hit"];
export type Coverage = Schemas["Coverage"];
export type Problem = Schemas["Problem"];
export type LoadAnswer = Schemas["LoadAnswer"];

export interface Options extends Pick<ClientOptions, "fetch" | "headers"> {
  /** A key or token, if the gateway requires one. */
  token?: string;
}

/** A client of the gateway at `url`; its methods are GET, POST, PUT, PATCH and DELETE, with typed paths. */
export function hedgerow(url: string, { token, headers, ...rest }: Options = {}): Gateway {
  const bearer = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  return createClient<paths>({
    ...rest,
    baseUrl: url.replace(/\/+$/, ""),
    headers: { ...bearer, ...(headers as Record<string, string> | undefined) },
  });
}

/** The gateway has refused a request, or could not answer it; `problem` says why (RFC 9457). */
export class ProblemError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.detail ?? problem.title ?? `the gateway answered ${status}`);
    this.name = "ProblemError";
  }
}

/** The content of an answer; throws a ProblemError if there is none. */
export async function contentOf<T>(
  sent: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await sent;
  if (response.ok) return data as T;
  const problem = typeof error === "object" && error !== null ? error : { title: String(error ?? "") };
  throw new ProblemError(response.status, problem as Problem);
}

/** Whether documents are missing from an answer because some shards did not answer. */
export function isPartial(answer: { coverage: Coverage }): boolean {
  return !answer.coverage.is_full;
}

/** Search a collection; a partial answer is an answer, and its `coverage` says so. */
export function search(gateway: Gateway, collection: string, body: SearchBody, signal?: AbortSignal): Promise<SearchAnswer> {
  return contentOf(gateway.POST("/v1/collections/{name}/search", {
    params: { path: { name: collection } }, body, ...(signal && { signal }),
  }));
}

/** Load documents, each with an `id`; they can be found when it returns. */
export function index(gateway: Gateway, collection: string, documents: Iterable<object>): Promise<LoadAnswer> {
  const lines = Array.from(documents, (one) => `${JSON.stringify(one)}\n`).join("");
  return contentOf(gateway.POST("/v1/collections/{name}/documents", {
    params: { path: { name: collection }, query: { wait: "applied" } },
    headers: { "Content-Type": "application/x-ndjson" },
    body: lines,
    bodySerializer: (body: string) => body,
  }));
}
