import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runtime } from "../src/platform/env.ts";
import { inRoot, tempFolder, test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

interface Ended {
  status: number | string;
  stdout: string;
  stderr: string;
}

/** Runs the command under this runtime. */
function realizar(args: string[], stdin = ""): Promise<Ended> {
  const main = inRoot("src/cli/main.ts");
  const own = { bun: [main], deno: ["run", "-A", "--no-check", main], node: ["--no-warnings", main] }[runtime()];
  return new Promise((resolve) => {
    const options = { cwd: inRoot(), timeout: 60_000 };
    const child = execFile(process.execPath, [...own, ...args], options, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : error.code ?? error.signal ?? "?", stdout, stderr });
    });
    child.stdin!.end(stdin);
  });
}

/** Runs with the path of a tiny model. */
async function withModel(run: (path: string) => Promise<void>): Promise<void> {
  using folder = tempFolder();
  const path = folder.file("tiny.gguf");
  writeFileSync(path, tinyGguf({ seed: 3 }));
  await run(path);
}

test("cli run: text on stdout, speed on stderr; --json is one object; both are the same text", () =>
  withModel(async (path) => {
    const args = ["run", path, "-p", "in the end", "--temp", "0", "-n", "6", "--device", "ref"];
    const plain = await realizar(args);
    assertEquals(plain.status, 0, plain.stderr);
    assertStringIncludes(plain.stderr, "tok/s");
    const json = await realizar([...args, "--json"]);
    assertEquals([json.status, json.stderr], [0, ""]);
    const told = JSON.parse(json.stdout) as Record<string, unknown>;
    assertEquals(`${told["text"]}\n`, plain.stdout);
    assertEquals(told["finish_reason"] === "length" || told["finish_reason"] === "stop", true);
    assert(Number(told["prompt_tokens"]) > 0 && Array.isArray(told["tokens"]) && typeof told["timings"] === "object");
    const raw = await realizar(["run", path, "-p", "-", "--raw", "--temp", "0", "-n", "6", "--json"], "in the end");
    const rawTold = JSON.parse(raw.stdout) as { prompt_tokens: number };
    assert(rawTold.prompt_tokens < Number(told["prompt_tokens"]), "without the template the prompt is shorter");
  }));

test("cli run --profile: tables on stderr, a trace whose launches follow one another, and the same text", () =>
  withModel(async (path) => {
    using folder = tempFolder();
    const trace = folder.file("trace.json");
    const args = ["run", path, "-p", "in the end", "--temp", "0", "-n", "6", "--device", "ref"];
    const plain = await realizar(args);
    const alone = await realizar([...args, "--profile"]);
    assertEquals([alone.status, alone.stdout], [0, plain.stdout], alone.stderr);
    assertStringIncludes(alone.stderr, "decode: 1 token a step");
    const traced = await realizar([...args.slice(0, 2), "--profile", trace, ...args.slice(2)]);
    assertEquals([traced.status, traced.stdout], [0, plain.stdout], traced.stderr);
    const { traceEvents } = JSON.parse(readFileSync(trace, "utf8")) as {
      traceEvents: { ph: string; tid: number; ts: number; dur: number; name: string }[];
    };
    const events = traceEvents.filter(({ ph, tid }) => ph === "X" && tid === 0);
    assert(events.some(({ name }) => name === "attention") && events.every(({ dur }) => dur >= 0));
    for (const [i, { ts }] of events.entries()) {
      const before = events[i - 1];
      assert(before === undefined || Math.abs(before.ts + before.dur - ts) < 1e-6, `event ${i}`);
    }
  }));

test("cli: a failure is one line and status 1, wrong use is status 2", () =>
  withModel(async (path) => {
    const missing = await realizar(["run", `${path}.not`, "-p", "x"]);
    assertEquals([missing.status, missing.stdout], [1, ""]);
    assertEquals(missing.stderr.trim().split("\n").length, 1, missing.stderr);
    assertStringIncludes(missing.stderr, "IO");
    const range = await realizar(["run", path, "-p", "x", "--temp=-1"]);
    assertEquals(range.status, 1);
    assertStringIncludes(range.stderr, "temperature");
    for (const args of [["run"], ["run", path, "--nope"], ["run", path, "-n", "many"], ["fly"], []]) {
      assertEquals((await realizar(args)).status, 2, args.join(" "));
    }
  }));

test("cli inspect: proves without loading, lists the plan, tells the memory", () =>
  withModel(async (path) => {
    const json = JSON.parse((await realizar(["inspect", path, "--json"])).stdout) as Record<string, unknown>;
    assertEquals(json["architecture"], "llama");
    assert(Array.isArray(json["tensors"]) && json["tensors"].length > 10);
    const all = await realizar(["inspect", path, "--validate", "--plan", "--memory", "--device", "ref"]);
    assertEquals(all.status, 0, all.stderr);
    assertStringIncludes(all.stdout, "valid: ");
    assertStringIncludes(all.stdout, "attention");
    assertStringIncludes(all.stdout, "weightsBytes");
    writeFileSync(path, tinyGguf({ seed: 3 }).subarray(0, 3000));
    const cut = await realizar(["inspect", path, "--validate"]);
    assertEquals([cut.status, cut.stdout], [1, ""]);
  }));

test("cli bench: a JSON line a test, with the names that scripts rely on", () =>
  withModel(async (path) => {
    const args = [
      "--pp",
      "16",
      "--tg",
      "4",
      "--depth",
      "0,8",
      "--batch",
      "2",
      "--reps",
      "2",
      "--device",
      "cpu",
      "--json",
    ];
    const { status, stdout, stderr } = await realizar(["bench", path, ...args]);
    assertEquals(status, 0, stderr);
    const rows = stdout.trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
    assertEquals(rows.map((row) => row["test"]), ["pp16", "tg4", "tg4@8", "b2"]);
    const names = ["tok_s", "min", "max", "reps", "gb_s", "share_of_bandwidth", "device", "dtype", "model", "commit"];
    for (const row of rows) {
      assertEquals(names.filter((name) => !(name in row)), []);
      assert(Number(row["tok_s"]) > 0 && Number(row["min"]) <= Number(row["tok_s"]), JSON.stringify(row));
    }
  }));

test("cli doctor and help", async () => {
  const { status, stdout } = await realizar(["doctor", "--json"]);
  assertEquals(status, 0);
  const told = JSON.parse(stdout) as Record<string, unknown>;
  assertStringIncludes(String(told["runtime"]), runtime());
  assert(typeof told["library"] === "string" && Array.isArray(told["backends"]));
  for (const args of [["--help"], ["run", "--help"], ["chat", "--help"], ["inspect", "-h"], ["bench", "-h"]]) {
    const help = await realizar(args);
    assertEquals([help.status, help.stderr], [0, ""], args.join(" "));
    assertStringIncludes(help.stdout, "realizar");
  }
});

test("cli chat: a conversation over a pipe", () =>
  withModel(async (path) => {
    const talk = await realizar(["chat", path, "--temp", "0", "-n", "4", "--device", "ref"], "one\ntwo\n\n");
    assertEquals(talk.status, 0, talk.stderr);
    assertEquals(talk.stderr.split("tok/s").length - 1, 4, "two answers, two figures each");
  }));
