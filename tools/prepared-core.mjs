// An esbuild plugin that puts emitted code of the interpreter into a bundle, in place of src/cpu/prepared-core.ts: its one function, and
// those of the other forms in the census of a Linux boot. They are emitted by the very sources that are bundled, so they are
// never older than these.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { icedFrom } from './iced.mjs';

export const CENSUS = 'tools/census.json';
/** Offset in its page at which examples are decoded. */
const PLACE = 0x800;

const sources = `
  export { prepareCore } from './src/cpu/interpreter.ts';
  export { compilerDefaults } from './src/cpu/compiler/compiler.ts';
  export { InstructionDecoder } from './src/x86/decode.ts';`;

/** What prepareCore gives for the thresholds that machines use: no reports, and those of the compiler. */
async function emitted(root) {
  const { outputFiles } = await build({
    stdin: { contents: sources, resolveDir: root },
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    write: false,
    plugins: [icedFrom(root)],
    logLevel: 'error',
  });
  const folder = mkdtempSync(join(tmpdir(), 'cbit-'));
  try {
    const file = join(folder, 'core.mjs');
    writeFileSync(file, outputFiles[0].text);
    const { prepareCore, compilerDefaults, InstructionDecoder } = await import(pathToFileURL(file).href);
    return prepareCore([0, compilerDefaults.threshold], formsOfCensus(root, new InstructionDecoder()));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function formsOfCensus(root, decoder) {
  const forms = [];
  for (const [, example] of JSON.parse(readFileSync(join(root, CENSUS), 'utf8')))
    decoder.decode(new Uint8Array(Buffer.from(example, 'hex')), PLACE, 64, ({ form }) => {
      forms.push(form);
      return false;
    });
  return forms;
}

/** Forms as a literal of their JSON, which has no undefined. */
const text = (forms) => JSON.stringify(JSON.stringify(forms, (_, value) => value ?? null));

/** The module that stands in place of src/cpu/prepared-core.ts. */
const moduleOf = ({ hot, common, modules }) => {
  const thresholds = [...modules.keys()];
  const row = (threshold) => `[${threshold}, { hot: hot${threshold}, common: common${threshold} }]`;
  return [
    ...thresholds.flatMap((n) => ['hot', 'common'].map((part) => `import ${part}${n} from 'prepared-core:${part}:${n}';`)),
    // The objects have the shape that the decoder gives them.
    'const shaped = (form) => { form.special ??= undefined; return form; };',
    `const forms = (text) => JSON.parse(text).map(shaped);`,
    `const hot = forms(${text(hot)});`,
    `const common = forms(${text(common)});`,
    `export const preparedCore = { hot, common, modules: new Map([${thresholds.map(row)}]) };`,
  ].join('\n');
};

export const preparedCore = (root) => ({
  name: 'prepared core',
  setup({ onResolve, onLoad }) {
    let core;
    const prepared = () => (core ??= emitted(root));
    onLoad({ filter: /[\\/]src[\\/]cpu[\\/]prepared-core\.ts$/ }, async () => ({
      contents: moduleOf(await prepared()),
      loader: 'js',
      resolveDir: root,
    }));
    onResolve({ filter: /^prepared-core:/ }, ({ path }) => ({ path, namespace: 'prepared-core' }));
    onLoad({ filter: /.*/, namespace: 'prepared-core' }, async ({ path }) => {
      const [, part, threshold] = path.split(':');
      return { contents: (await prepared()).modules.get(Number(threshold))[part], loader: 'binary' };
    });
  },
});
