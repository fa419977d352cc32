// A search as curl, Python and the command line would send it. Pure.

const DEFAULTS = { k: null, rank_profile: null, filter: "", minimum_coverage: 0, explain: false };

/** Only the members that say something. */
export function spare(body) {
  return Object.fromEntries(
    Object.entries(body).filter(([name, value]) => value !== DEFAULTS[name]),
  );
}

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export function asCurl(base, collection, body, hasKey) {
  const lines = [`curl ${shell(`${base}/v1/collections/${encodeURIComponent(collection)}/search`)}`];
  if (hasKey) lines.push('-H "Authorization: Bearer $HEDGEROW_GATEWAY__TOKEN"');
  lines.push(`-d ${shell(JSON.stringify(spare(body)))}`);
  return lines.join(" \\\n  ");
}

function python(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${python(name)}: ${python(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

export function asPython(base, collection, body, hasKey) {
  const { query, ...rest } = spare(body);
  const members = Object.entries(rest).map(([name, value]) => `        ${name}=${python(value)},\n`);
  const token = hasKey ? ', os.environ["HEDGEROW_GATEWAY__TOKEN"]' : "";
  return `${hasKey ? "import os\n\n" : ""}from hedgerow import Client

with Client(${python(base)}${token}) as client:
    answer = client.search(
        ${python(collection)},
        ${python(query)},
${members.join("")}    )
print(answer.coverage.fraction, [hit.id for hit in answer.hits])
`;
}

/** A facet as `gateway query --facet` takes it: brand:8, price:..10,10..20,20.. */
function facet(name, { size, ranges }) {
  return `${name}:${size ?? ranges.map(({ from = "", to = "" }) => `${from}..${to}`).join(",")}`;
}

/** A choice as `gateway query --refine` takes it: brand:acme, price:10..20, code:"007" */
function choice(name, value) {
  if (typeof value === "object") return `${name}:${value.from ?? ""}..${value.to ?? ""}`;
  return typeof value === "string" ? `${name}:"${value}"` : `${name}:${value}`;
}

export function asCommand(base, collection, body) {
  const { query, ...rest } = spare(body);
  const parts = [`--collection ${shell(collection)}`];
  const options = {
    k: (value) => `--k ${value}`,
    deadline_ms: (value) => `--deadline ${value}ms`,
    rank_profile: (value) => `--profile ${shell(value)}`,
    filter: (value) => `--filter ${shell(value)}`,
    minimum_coverage: (value) => `--minimum-coverage ${value}`,
    explain: () => "--explain",
    facets: (value) => Object.entries(value).map(([name, one]) => `--facet ${shell(facet(name, one))}`).join(" \\\n  "),
    refine: (value) => Object.entries(value).flatMap(([name, those]) => those.map((one) => `--refine ${shell(choice(name, one))}`)).join(" \\\n  "),
    highlight: () => "--highlight all",
    did_you_mean: () => "--did-you-mean",
    vector: (value) => `--vector ${shell(value.field)}`,
    hybrid: () => "--hybrid scores",
    sort: (value) => value.map((one) => `--sort ${shell(Object.entries(one)[0].join(":"))}`).join(" "),
  };
  for (const [name, value] of Object.entries(rest)) parts.push(options[name](value));
  parts.push(`--url ${shell(base)}`);
  // A query that begins with a dash would be taken for an option.
  return query.startsWith("-")
    ? ["gateway query", ...parts, `-- ${shell(query)}`].join(" \\\n  ")
    : [`gateway query ${shell(query)}`, ...parts].join(" \\\n  ");
}
