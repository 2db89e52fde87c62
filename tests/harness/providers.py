"""Real mail providers of the world: none of them may be taken for a typo or for throw-away."""

# Mailboxes that anybody can open without paying.
_FREE = """
    gmail.com googlemail.com outlook.com hotmail.com live.com msn.com hotmail.co.uk hotmail.fr
    hotmail.de hotmail.it hotmail.es hotmail.be hotmail.nl hotmail.ca hotmail.com.br hotmail.com.ar
    live.de live.fr live.nl live.it live.be live.ca live.co.uk live.dk live.se live.no live.at
    live.cn live.com.mx live.com.au outlook.de outlook.fr outlook.es outlook.it outlook.at
    outlook.be outlook.dk outlook.ie outlook.jp outlook.pt outlook.com.br outlook.com.au outlook.in
    passport.com yahoo.com ymail.com rocketmail.com myyahoo.com yahoo.de yahoo.fr yahoo.it yahoo.es
    yahoo.co.uk yahoo.co.jp yahoo.co.in yahoo.in yahoo.co.id yahoo.co.kr yahoo.com.br yahoo.com.ar
    yahoo.com.mx yahoo.com.au yahoo.com.cn yahoo.com.hk yahoo.com.sg yahoo.com.tw yahoo.com.vn
    yahoo.com.ph yahoo.com.my yahoo.com.tr yahoo.ca yahoo.ie yahoo.gr yahoo.pl yahoo.ro yahoo.se
    yahoo.dk yahoo.no yahoo.at yahoo.be yahoo.nl icloud.com me.com mac.com aol.com aol.de aol.fr
    aol.co.uk aim.com gmx.de gmx.net gmx.com gmx.at gmx.ch gmx.org gmx.eu gmx.info gmx.fr gmx.us
    gmx.biz gmx.co.uk web.de freenet.de t-online.de mail.de email.de freemail.de arcor.de gmx.li
    bluewin.ch hispeed.ch sunrise.ch aon.at chello.at mail.com email.com usa.com post.com europe.com
    consultant.com engineer.com writeme.com myself.com dr.com iname.com lycos.com proton.me
    protonmail.com pm.me protonmail.ch tutanota.com tutanota.de tuta.io tuta.com keemail.me
    tutamail.com disroot.org laposte.net orange.fr wanadoo.fr free.fr sfr.fr neuf.fr bbox.fr
    numericable.fr voila.fr libero.it virgilio.it tiscali.it alice.it tin.it inwind.it iol.it
    email.it wp.pl o2.pl onet.pl interia.pl gazeta.pl op.pl tlen.pl poczta.onet.pl go2.pl vp.pl
    seznam.cz email.cz post.cz centrum.cz volny.cz atlas.cz centrum.sk azet.sk zoznam.sk freemail.hu
    citromail.hu abv.bg mail.bg inbox.lv inbox.lt mail.ee walla.co.il walla.com mail.ru bk.ru
    list.ru inbox.ru internet.ru yandex.ru yandex.com yandex.by yandex.kz ya.ru rambler.ru lenta.ru
    ukr.net i.ua meta.ua bigmir.net tut.by qq.com foxmail.com 163.com 126.com yeah.net sina.com
    sina.cn sohu.com 139.com 189.cn aliyun.com vip.163.com 188.com tom.com naver.com daum.net
    hanmail.net nate.com kakao.com rediffmail.com zoho.com zohomail.com zoho.in zohomail.eu
    uol.com.br bol.com.br terra.com.br ig.com.br globo.com r7.com telefonica.net terra.es sapo.pt
    mynet.com in.gr otenet.gr hotmail.gr luukku.com suomi24.fi ziggo.nl excite.com hushmail.com
    mail2world.com lycos.co.uk
"""
FREE = tuple(_FREE.split())

# Mailboxes that one pays for, or has with a line; privacy services; relays that forward to them.
_OTHERS = """
    posteo.de posteo.net mailbox.org fastmail.com fastmail.fm fastmail.de messagingengine.com
    hey.com duck.com privaterelay.appleid.com mozmail.com runbox.com startmail.com mailfence.com
    kolabnow.com riseup.net autistici.org mailo.com one.com infomaniak.com ik.me pobox.com sent.com
    ftml.net eml.cc migadu.com soverin.net countermail.com ctemplar.com comcast.net verizon.net
    att.net sbcglobal.net bellsouth.net cox.net charter.net earthlink.net juno.com netzero.net
    optonline.net roadrunner.com frontier.com windstream.net centurylink.net embarqmail.com
    mindspring.com rr.com twc.com optimum.net suddenlink.net prodigy.net rogers.com shaw.ca
    sympatico.ca videotron.ca telus.net bell.net cogeco.ca btinternet.com btopenworld.com sky.com
    talktalk.net virginmedia.com ntlworld.com blueyonder.co.uk plus.com tesco.net eircom.net
    bigpond.com bigpond.net.au optusnet.com.au iinet.net.au internode.on.net xtra.co.nz kpnmail.nl
    planet.nl home.nl xs4all.nl hetnet.nl upcmail.nl telenet.be skynet.be proximus.be telia.com
    comhem.se bredband.net spray.se online.no broadpark.no mail.dk stofanet.dk kolumbus.fi
    elisanet.fi pp.inet.fi vodafone.de vodafone.it netcologne.de versanet.de kabelmail.de ewe.net
    ewetel.net a1.net liwest.at swissonline.ch vtxmail.ch pec.it aruba.it fastwebnet.it teletu.it
    movistar.es ono.com docomo.ne.jp ezweb.ne.jp softbank.ne.jp i.softbank.jp nifty.com
    biglobe.ne.jp ocn.ne.jp so-net.ne.jp netvigator.com singnet.com.sg pacific.net.sg hinet.net
    seed.net.tw vsnl.net airtelmail.in mweb.co.za telkomsa.net vodamail.co.za webmail.co.za mit.edu
    harvard.edu stanford.edu ox.ac.uk cam.ac.uk ethz.ch tum.de ieee.org acm.org gnu.org debian.org
"""
OTHERS = tuple(_OTHERS.split())

ALL = (*FREE, *OTHERS)

# Domains that exist and are one slip away from a provider's: a company's, a country's, or another
# provider's.
_NEAR = """
    gmx.com gmx.de gmx.net gmx.at gmx.ch mail.com gmail.com email.com ymail.com hotmail.co.uk
    live.com live.ca live.cn aol.com aol.de web.de web.com me.com mac.com one.com msn.com sn.com
    mail.de mail.ru mail.ee gmx.eu wp.com op.pl wp.pl free.fr free.de love.com line.com zoho.com
    soho.com orange.fr orange.com orange.es cox.net box.net fox.net sky.com ski.com att.com att.net
    aim.com qq.com ya.ru yahoo.com.co naver.com never.com cloud.com iclod.net gmail.de email.de
    fmail.com hmail.com imail.com jmail.com kmail.com qmail.com smail.com tmail.com umail.com
    vmail.com xmail.com zmail.com gmail.net hotmail.co x.com t.co google.com gmx.org gmx.fr hey.com
    they.com duck.com dock.com proton.com protons.me tuta.com tutu.com posteo.com mailbox.com
    outlook.at outlook.cl outlook.cz outlook.sg yahoo.cl yahoo.cz yahoo.ca yahoo.at yahoo.ae
    amazon.co twitter.co yandex.co mail.om com.co com.cm bbc.co web.cm omantel.om ooredoo.om
    camtel.cm
"""
NEAR = tuple(_NEAR.split())
