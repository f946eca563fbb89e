// An esbuild plugin that has a bundle load iced-x86 by `require`. It is a CommonJS module of 900 KB, which `import` reads through once
// more in search of names: 40 of the 65 ms that loading it takes (measured: Node 20).

import { createRequire } from 'node:module';
import { join } from 'node:path';

const names = Object.keys(createRequire(import.meta.url)('iced-x86')).filter((name) => /^[A-Z]\w*$/.test(name));

/** `root`: the folder whose node_modules has it; none: where Node looks from the bundle on. */
export const icedFrom = (root) => ({
  name: 'iced-x86',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^iced-x86$/ }, () => ({ path: 'iced-x86', namespace: 'required' }));
    onLoad({ filter: /.*/, namespace: 'required' }, () => ({
      contents: [
        `import { createRequire } from 'node:module';`,
        `const iced = createRequire(${root === undefined ? 'import.meta.url' : JSON.stringify(join(root, 'package.json'))})('iced-x86');`,
        ...names.map((name) => `export const ${name} = iced.${name};`),
      ].join('\n'),
      loader: 'js',
      resolveDir: root,
    }));
  },
});
