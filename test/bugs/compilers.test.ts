// The planted bugs by other compilers: each is in the source, not in what one compiler makes of it. clang without optimisation; all four ways with
// CBIT_COMPILERS=all.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { launch } from '../../src/cbit.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { SLICE } from '../../src/virtual-machine.ts';
import { Builder, canBuild, targets } from '../../tools/guest-build.ts';
import { settingsOf, table } from './table.ts';

const all = process.env['CBIT_COMPILERS'] === 'all';
const ways = all ? ['gcc', 'clang'].flatMap((cc) => ['0', '2'].map((opt) => ({ cc, opt }))) : [{ cc: 'clang', opt: '0' }];

for (const { cc, opt } of ways) {
  describe.skipIf(!canBuild(cc))(`by ${cc} at -O${opt}`, () => {
    const builder = new Builder({ cc, opt });
    const folder = mkdtempSync(join(tmpdir(), 'cbit-bugs-'));
    afterAll(() => {
      builder.end();
      rmSync(folder, { recursive: true });
    });

    it.each(table)('$name passes, and the sanitizer finds what it should', (row) => {
      const target = targets().find(({ name }) => name === `bugs/${row.name}`);
      if (target === undefined) throw new Error(`no target bugs/${row.name}`);
      const path = join(folder, `${row.name}.elf`);
      builder.build(target, path);
      const image = { name: row.name, bytes: new Uint8Array(readFileSync(path)) };
      const sent: number[] = [];
      const vm = launch({ image, ...settingsOf(row), onSerial: (byte) => void sent.push(byte) });
      try {
        const sanitizer = attachSanitizer(vm);
        while (!vm.advance(SLICE));
        sanitizer.finish();
        const serial = new TextDecoder().decode(Uint8Array.from(sent));
        expect(serial).toMatch(/^PASS: /m);
        expect(serial).not.toMatch(/^FAIL/m);
        expect(vm.result().outcome.kind).toBe(row.terminates === true ? 'terminated' : 'ended');
        const found = sanitizer.findings.map(({ rule }) => rule);
        if (row.sanitize !== undefined) expect(found).toContain(row.sanitize);
      } finally {
        vm.dispose();
      }
    });
  });
}
