"""Real mail providers of the world: none of them may be taken for a typo or for throw-away."""

from processors.providers import FREE

# Mailboxes that one pays for, or has with a line; privacy services; relays that forward to them.
_OTHERS = """
    hispeed.ch sunrise.ch aon.at chello.at orange.fr wanadoo.fr sfr.fr neuf.fr bbox.fr
    numericable.fr telefonica.net otenet.gr ziggo.nl posteo.de posteo.net mailbox.org fastmail.com
    fastmail.fm fastmail.de messagingengine.com hey.com duck.com privaterelay.appleid.com
    mozmail.com runbox.com startmail.com mailfence.com kolabnow.com riseup.net autistici.org
    one.com infomaniak.com ik.me pobox.com sent.com ftml.net eml.cc migadu.com soverin.net
    countermail.com ctemplar.com comcast.net verizon.net att.net sbcglobal.net bellsouth.net cox.net
    charter.net earthlink.net juno.com netzero.net optonline.net roadrunner.com frontier.com
    windstream.net centurylink.net embarqmail.com mindspring.com rr.com twc.com optimum.net
    suddenlink.net prodigy.net rogers.com shaw.ca sympatico.ca videotron.ca telus.net bell.net
    cogeco.ca btinternet.com btopenworld.com sky.com talktalk.net virginmedia.com ntlworld.com
    blueyonder.co.uk plus.com tesco.net eircom.net bigpond.com bigpond.net.au optusnet.com.au
    iinet.net.au internode.on.net xtra.co.nz kpnmail.nl planet.nl home.nl xs4all.nl hetnet.nl
    upcmail.nl telenet.be skynet.be proximus.be telia.com comhem.se bredband.net online.no
    broadpark.no mail.dk stofanet.dk kolumbus.fi elisanet.fi pp.inet.fi vodafone.de vodafone.it
    netcologne.de versanet.de kabelmail.de ewe.net ewetel.net a1.net liwest.at swissonline.ch
    vtxmail.ch pec.it aruba.it fastwebnet.it teletu.it movistar.es ono.com docomo.ne.jp ezweb.ne.jp
    softbank.ne.jp i.softbank.jp nifty.com biglobe.ne.jp ocn.ne.jp so-net.ne.jp netvigator.com
    singnet.com.sg pacific.net.sg hinet.net seed.net.tw vsnl.net airtelmail.in mweb.co.za
    telkomsa.net vodamail.co.za webmail.co.za mit.edu harvard.edu stanford.edu ox.ac.uk cam.ac.uk
    ethz.ch tum.de ieee.org acm.org gnu.org debian.org
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
