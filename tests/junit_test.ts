/** The script that judges the suite: what it reads out of the reports that the three runtimes write. */
import { writeFileSync } from "node:fs";
import { assertEquals } from "@std/assert";
import { tempFolder, test } from "./support.ts";

interface Case {
  name: string;
  state: "passed" | "failed" | "skipped";
  message: string;
  seconds: number;
}
interface Junit {
  readReport(path: string): Case[] | undefined;
  differences(a: Case[], b: Case[]): { onlyA: string[]; onlyB: string[] };
}

async function junit(): Promise<Junit> {
  return (await import(new URL("../tools/lib/junit.mjs", import.meta.url).href)) as Junit;
}

/** The cases of a report without their times. */
async function parse(xml: string): Promise<Omit<Case, "seconds">[] | undefined> {
  using folder = tempFolder();
  writeFileSync(folder.file("report.xml"), xml);
  const cases = (await junit()).readReport(folder.file("report.xml"));
  return cases?.map(({ name, state, message }) => ({ name, state, message }));
}

// As written by Bun 1.4, Deno 2.9 and Node 26 for: a pass, a failure, a skip.
const REPORTS = {
  bun: `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="3" failures="1" skipped="1" time="0.07">
  <testsuite name="tests/a_test.ts" tests="3" failures="1" skipped="1">
    <testcase name="a &gt; b" classname="" time="0.00315" file="tests/a_test.ts" line="19" assertions="0" />
    <testcase name="bad" classname="" time="0.000607" file="tests/a_test.ts" line="19" assertions="0">
      <failure type="AssertionError" message="1 &lt; 2">AssertionError: 1 &lt; 2&#10;      at x</failure>
    </testcase>
    <testcase name="gpu [skipped: no NVIDIA GPU]" classname="" time="0" file="tests/a_test.ts" line="24">
      <skipped />
    </testcase>
  </testsuite>
</testsuites>`,
  deno: `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="3" failures="1" errors="0" time="0.019">
    <testsuite name="./tests/support.ts" tests="3" disabled="1" errors="0" failures="1">
        <testcase name="a &gt; b" classname="./tests/support.ts" time="0.003" line="19" col="3">
        </testcase>
        <testcase name="bad" classname="./tests/support.ts" time="0.001" line="19" col="3">
            <failure message="Uncaught AssertionError: 1 &lt; 2">AssertionError: 1 &lt; 2
      at x</failure>
        </testcase>
        <testcase name="gpu [skipped: no NVIDIA GPU]" classname="./tests/support.ts" time="0.000" line="24" col="3">
            <skipped/>
        </testcase>
    </testsuite>
</testsuites>`,
  node: `<?xml version="1.0" encoding="utf-8"?>
<testsuites>
	<testcase name="a > b" time="0.005097" classname="test" file="/tmp/support.ts"/>
	<testcase name="bad" time="0.000332" classname="test" file="/tmp/support.ts" failure="1 &lt; 2">
		<failure type="testCodeFailure" message="1 &lt; 2">
AssertionError: 1 &lt; 2
      at x
		</failure>
	</testcase>
	<testcase name="gpu [skipped: no NVIDIA GPU]" time="0.000088" classname="test" file="/tmp/support.ts">
		<skipped type="skipped" message="true"/>
	</testcase>
	<!-- tests 3 -->
</testsuites>`,
};

for (const [runtime, xml] of Object.entries(REPORTS)) {
  test(`junit: a report of ${runtime}`, async () => {
    assertEquals(await parse(xml), [
      { name: "a > b", state: "passed", message: "" },
      { name: "bad", state: "failed", message: "AssertionError: 1 < 2\n      at x" },
      { name: "gpu", state: "skipped", message: "no NVIDIA GPU" },
    ]);
  });
}

test("junit: no report, or half of one, is not an empty one", async () => {
  using folder = tempFolder();
  assertEquals((await junit()).readReport(folder.file("none.xml")), undefined);
  assertEquals(await parse(REPORTS.bun.slice(0, 600)), undefined);
});

test("junit: a skip without a reason says so", async () => {
  const xml = `<testsuites><testcase name="x"><skipped/></testcase></testsuites>`;
  assertEquals(await parse(xml), [{ name: "x", state: "skipped", message: "no reason given" }]);
});

test("junit: tests that ran in one runtime only are named", async () => {
  const cases = (...names: string[]): Case[] =>
    names.map((name) => ({ name, state: "passed", message: "", seconds: 0 }));
  const { differences } = await junit();
  assertEquals(differences(cases("a", "b", "b"), cases("b", "a", "c")), { onlyA: ["b"], onlyB: ["c"] });
  assertEquals(differences(cases("a", "b"), cases("b", "a")), { onlyA: [], onlyB: [] });
});
