// esbuild makes `var` of every `const` at the top of a module that it bundles. V8 knows a constant's value when it optimises a function,
// but loads a variable and looks at it anew each time: State.RIP is a number in the one case and three instructions and two
// checks in the other. With constants everything that is TypeScript here takes three quarters of the time (measured: Node 20,
// round trips through #VC). So what is never assigned again becomes `const` once more, in the bundle as in the source.

const DECLARATION = /^var (?=([\w$]+) = |[{[]([^=]*)[}\]] = )/gm;
/** A name in front of an operator that assigns, and behind one. Where names are declared they are not assigned, and properties are others. */
const ASSIGNED = /(?<![\w$.#]|(?:const|let|var|class) )([A-Za-z_$][\w$]*) ?(?:(?:[-+*/%&|^]|\*\*|<<|>>>?|&&|\|\||\?\?)?=(?![=>])|\+\+|--)/g;
const STEPPED = /(?:\+\+|--)([A-Za-z_$][\w$]*)/g;
const COMMENT = /^\s*(?:\/\/|\/?\*).*$/gm;

/** The code of a bundle with its constants. Lines stay where they are, as source maps need them. */
export function withConstants(code) {
  const assigned = new Set();
  const said = code.replace(COMMENT, '');
  for (const pattern of [ASSIGNED, STEPPED]) for (const [, name] of said.matchAll(pattern)) assigned.add(name);
  return code.replace(DECLARATION, (all, name, pattern) => {
    const names = name === undefined ? pattern.split(',').map((part) => part.split(':').at(-1).trim()) : [name];
    return names.some((one) => assigned.has(one)) ? all : 'const ';
  });
}

/** An esbuild plugin that does this to whatever is written. */
export const constants = {
  name: 'constants',
  setup({ initialOptions, onEnd }) {
    initialOptions.write = false;
    onEnd(async ({ outputFiles = [] }) => {
      const { mkdir, writeFile } = await import('node:fs/promises');
      const { dirname } = await import('node:path');
      for (const { path, text, contents } of outputFiles) {
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, path.endsWith('.map') ? contents : withConstants(text));
      }
    });
  },
};
