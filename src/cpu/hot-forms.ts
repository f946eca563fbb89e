// The hot forms: those that stand inline in the interpreter's one function, one example encoding of each by mnemonic (register,
// [rbx+8] and [rbx+rsi*4+8] variants; branches within the page and out of it). Chosen by what OVMF, Linux and busybox execute:
// these are some 99% of it, string instructions apart. At most 300 forms and 40 KB of body: beyond that V8 (Node 20) loses a quarter.

import { InstructionDecoder } from '../x86/decode.ts';
import { type Form, formKey } from '../x86/form.ts';

const encodings: Readonly<Record<string, string>> = {
  Mov: '4889d1 48895308 488954b308 89d1 895308 8954b308 488b4b08 488b4cb308 8b4b08 8b4cb308 b905000000 6689d1 66895308 668954b308 8aca 8a4b08 8a4cb308 885308 8854b308 48c7c105000000 48c7430805000000 48c744b30805000000 c6c105 c6430805 c644b30805 c7430805000000 c744b30805000000 668b4b08 668b4cb308',
  Jne: '750e 0f850a100000',
  Cmp: '4839d1 48395308 483954b308 39d1 395308 3954b308 81f905000000 817b0805000000 817cb30805000000 6683f905 66837b0805 66837cb30805 4883f905 48837b0805 48837cb30805 80f905 807b0805 807cb30805 3aca 3a4b08 3a4cb308 3b4b08 3b4cb308 483b4b08 483b4cb308 385308 3854b308 6639d1',
  Add: '4801d1 48015308 480154b308 4883c105 4883430805 488344b30805 01d1 015308 0154b308 83c105 83430805 8344b30805 034b08 034cb308 48034b08 48034cb308',
  Je: '740e 0f840a100000',
  Lea: '488d4b08 488d4cb308 8d4b08 8d4cb308',
  Jmp: 'eb0e e90b100000 ffe1 ff6308',
  Sub: '29d1 295308 2954b308 4883e905 48836b0805 48836cb30805 4829d1 48295308 482954b308 83e905 836b0805 836cb30805 482b4b08 482b4cb308',
  Push: '51 ff7308 6805000000',
  Pop: '59',
  Shr: 'c1e905 c16b0805 48c1e905 48c16b0805 48d3e9 48d36b08',
  Movzx: '0fb6ca 0fb64b08 0fb64cb308 0fb7ca 0fb74b08 0fb74cb308',
  Call: 'e80b000000 e80b100000 ffd1 ff5308',
  Inc: '48ffc1 48ff4308 ffc1 ff4308 fec1 fe4308',
  Ja: '770e 0f870a100000',
  Ret: 'c3',
  Jae: '730e 0f830a100000',
  Test: '84d1 845308 4885d1 48855308 85d1 855308 f6c105 f6430805 f7c105000000 f7430805000000 48f7c105000000 48f7430805000000 6685d1 66855308',
  Jb: '720e 0f820a100000',
  Xor: '31d1 315308 3154b308 4831d1 48315308 483154b308 334b08 334cb308 83f105 83730805 8374b30805',
  Imul: '0fafca 0faf4b08 6bca05 6b4b0805 480fafca 480faf4b08 486bca05 486b4b0805',
  Movsxd: '4863ca 48634b08 48634cb308',
  And: '21d1 215308 4821d1 48215308 83e105 83630805 4883e105 4883630805 48234b08 80e105 80630805',
  Jbe: '0f860a000000 0f860a100000',
  Jns: '790e 0f890a100000',
  Shl: 'c1e105 c1630805 48c1e105 48c1630805 d3e1 d36308 48d3e1 48d36308',
  Bt: '0fbae105 0fba630805',
  Dec: 'ffc9 ff4b08 48ffc9 48ff4b08',
  Sar: 'c1f905 c17b0805 48c1f905 48c17b0805 48d3f9 48d37b08',
  Or: '4809d1 48095308 09d1 095308 83c905 834b0805 0b4b08 480b4b08 4883c905 48834b0805 80c905 804b0805 08d1 085308',
  Sete: '0f94c1 0f944308',
  Not: '48f7d1 48f75308',
  Cmovb: '480f42ca 480f424b08',
  Jle: '7e0e',
  Sbb: '19d1 195308',
  Setne: '0f95c1 0f954308',
  Cmovae: '480f43ca 480f434b08 0f43ca 0f434b08',
  Cmove: '480f44ca 480f444b08 0f44ca 0f444b08',
  Js: '780e 0f880a100000',
  Movsx: '0fbeca 0fbe4b08 0fbe4cb308 480fbeca 480fbe4b08 480fbe4cb308',
  Cmovbe: '0f46ca 0f464b08',
  Pushfq: '9c',
  Nop: '90',
  Neg: '48f7d9 48f75b08',
  Cdqe: '4898',
  Cmovs: '480f48ca 480f484b08',
  Setb: '0f92c1 0f924308',
  Xchg: '4887d1 48875308',
  Cmovne: '480f45ca 480f454b08',
  Cmova: '480f47ca 480f474b08',
  Jg: '7f0e',
  Jge: '0f8d0a000000 0f8d0a100000',
};

/** Offset in its page at which each example is decoded: branch targets were chosen for it. */
const PLACE = 0x800;
const MOST = 300;

export function hotForms(): Form[] {
  const decoder = new InstructionDecoder();
  const forms = new Map<string, Form>();
  for (const list of Object.values(encodings)) {
    for (const hex of list.split(' ')) {
      const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
      decoder.decode(bytes, PLACE, 64, ({ form }) => {
        if (forms.size < MOST) forms.set(formKey(form), form);
        return false;
      });
    }
  }
  return [...forms.values()];
}
